"""`instructrestore doctor`: could a build with these settings run here?"""
