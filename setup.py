"""What pyproject.toml cannot say: the directories at the top are the packages of `instructrestore`."""

from setuptools import find_packages, setup

ROOMS = ("dataengine", "model", "pipelines", "pretrained", "shards")

setup(
    package_dir={"instructrestore": "instructrestore"} | {f"instructrestore.{room}": room for room in ROOMS},
    packages=["instructrestore"]
    + [
        f"instructrestore.{name}"
        for room in ROOMS
        for name in (room, *(f"{room}.{inner}" for inner in find_packages(room)))
    ],
    package_data={
        "": ["*.css", "*.html", "*.js", "*.md", "*.safetensors", "*.tsv", "*.txt", "py.typed"],
        "instructrestore.model.restoring": ["small/*.json", "small/*/*"],
        "instructrestore.pipelines.app": ["static/*", "static/*/*"],
        "instructrestore.pipelines.evaluation.methods": ["recipes/*.toml"],
    },
)
