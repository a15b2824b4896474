"""The data engine: photos in, annotated photos out.

One room a step: `sources` list photos, `photos` read them, `quality` keeps the good ones, `masks` finds their regions,
`descriptions` and `noun_phrases` put these into words, `merging` joins those of one subject, and `photos` writes them
into shards. `reporting` tells people what came of it, `weights` finds the models' files, `serving` asks language
models, and `running` runs it all. `stages.py` lists the steps, `settings.py` what can be set.
"""
