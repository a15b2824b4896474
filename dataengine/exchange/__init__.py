"""A data set in the layouts of other tools: one file a layout, behind the contract in layout.py.

    data set -> export.py, the loop -> photos and annotations as coco.py, label_studio.py, ... lay them out

What they hold comes back by `build`, whose sources read the same layouts (dataengine/sources/).
"""
