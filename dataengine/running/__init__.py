"""The one machine that everything resumable runs on: what a stage is, parts and tables on disk, the loop over a list of
stages, workers, identity, the lock. It knows nothing of photos. Start with run.py and stage.py."""
