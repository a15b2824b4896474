"""The colour segmenter: 3 to 15 coarse regions of a photo on the CPU, nothing downloaded, nothing learned.

It works on a copy of the photo of at most 256 pixels and sees colour, texture, edges and focus, but no meaning:

1. Layout. Superpixels (SLIC: Achanta et al., PAMI 2012) are merged pairwise, always the pair with the lowest cost:
   Ward's criterion (the increase in the variance of colour and texture) plus the edge between the two, with a discount
   for a long common border. Merging stops when the next merger would cost too much, at 5 to 13 regions, which tile the
   photo: sky, field, wall, and things or parts of them.
2. Figure. Superpixels that differ from the photo's margins, are in focus and near the middle seed a segmentation with
   two colour models (GrabCut: Rother et al., SIGGRAPH 2004). If the result is in focus before a blurred background, or
   is detailed, strongly outlined and of a distinct colour, it is taken as the photo's subject: it is returned whole,
   and cut out of all regions of the layout but those that are parts of it, which `cleanup.py` deals with.

`benchmarks/masks.py` measures it, and says on which photos the constants were chosen.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import slic

from instructrestore.shards.rle import BoolArray

FloatArray = NDArray[Any]  # float32 or float64: OpenCV's annotations do not say which
IntArray = NDArray[np.integer]

REVISION = "1"

WORKING_SIDE = 256
FOCUS_SIDE = 640  # focus is measured on a copy of this size: at 256 pixels most blur has disappeared
LEAST_SIDE = 16  # below this a working copy is one region
SUPERPIXELS = 300
COMPACTNESS = 12.0
LEAST_REGIONS, MOST_REGIONS = 5, 13  # of the layout
MERGER_TOO_DEAR = 2e5  # a merger of a higher cost is only made while there are more than MOST_REGIONS
MOST_FIGURES = 2

# Weights of a superpixel's features: CIELAB lightness and chroma, root of texture energy, place (percent of the side).
LIGHTNESS, CHROMA, TEXTURE, PLACE_X, PLACE_Y = 0.7, 1.0, 4.0, 0.1, 0.0
EDGE = 5.0  # weight of the mean squared edge between two regions against the squared distance of their features

# A figure is in focus before a blurred background: its log ratio of fine to coarse detail is this much higher ...
FIGURE_FOCUS = 0.5
# ... or its mean log texture is this much above that of the rest, and the edge along its outline (in mean gradients of
# the photo) times the distance of its mean colour from that around it (in its own spread of colours) is this much.
FIGURE_DETAIL, FIGURE_CONTRAST = 0.7, 4.4
LEAST_FIGURE = 0.01  # share of the photo
PART_OF_FIGURE = 0.9  # a region of the layout with more than this share inside the figure is a part of it
GRABCUT_ITERATIONS = 2


class ColourSegmenter:
    """Maps a photo, (H, W, 3) uint8 RGB upright sRGB, to its regions, (H, W) bool each.

    Figures come first, then the layout. Regions do not overlap, except for parts of a figure. The same pixels give the
    same regions. A photo too narrow to show anything (less than 16 pixels high or wide in the working copy) is one
    region.
    """

    def __call__(self, rgb: NDArray[np.uint8]) -> list[BoolArray]:
        assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype == np.uint8, (rgb.shape, rgb.dtype)
        height, width = rgb.shape[:2]
        working = _at_most(rgb, WORKING_SIDE)
        if min(working.shape[:2]) < LEAST_SIDE:
            return [np.ones((height, width), np.bool_)]
        look = _look(working)
        superpixels = slic(working, SUPERPIXELS, COMPACTNESS, start_label=0, enforce_connectivity=True, channel_axis=-1)
        layout = _layout(superpixels, look)
        figures = _figures(working, superpixels, look, _focus_bands(rgb, layout.shape))
        figure = np.any([np.zeros(layout.shape, np.bool_), *figures], axis=0)
        regions = list(figures)
        for label in range(int(layout.max()) + 1):
            region = layout == label
            is_part = np.count_nonzero(region & figure) > PART_OF_FIGURE * np.count_nonzero(region)
            regions.append(region if is_part else region & ~figure)
        return [full for region in regions if (full := _enlarge(region, height, width)).any()]


@dataclass(frozen=True)
class _Look:
    """The appearance of the working copy, pixel by pixel, float32.

    lab: (h, w, 3) CIELAB. texture: (h, w, 3) local root mean square of the gradients across and down and of fine
    detail, in lightness. gradient: (h, w) length of the gradient in lightness and both chroma axes.
    """

    lab: FloatArray
    texture: FloatArray
    gradient: FloatArray


def _at_most(rgb: NDArray[np.uint8], side: int) -> NDArray[Any]:
    """The photo, scaled down to `side` pixels on its long side if that is longer."""
    scale = min(1.0, side / max(rgb.shape[:2]))
    height, width = (max(1, round(length * scale)) for length in rgb.shape[:2])
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)


def _look(rgb: NDArray[np.uint8]) -> _Look:
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lightness = np.ascontiguousarray(lab[..., 0])
    detail = lightness - cv2.GaussianBlur(lightness, (0, 0), 2)
    texture = [np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 3)) for band in (*_slopes(lightness), detail)]
    slopes = [slope for channel in cv2.split(cv2.GaussianBlur(lab, (0, 0), 1)) for slope in _slopes(channel)]
    return _Look(lab, np.dstack(texture), np.linalg.norm(slopes, axis=0))


def _slopes(plane: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sobel derivatives across and down, per pixel."""
    across = cv2.Sobel(plane, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    return across, cv2.Sobel(plane, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)


def _means(superpixels: IntArray, planes: FloatArray) -> FloatArray:
    """The mean of each plane, (h, w, P), over each superpixel: (N, P) float64."""
    flat = superpixels.ravel()
    sizes = np.bincount(flat)
    return np.stack([np.bincount(flat, plane.ravel()) / sizes for plane in np.moveaxis(planes, -1, 0)], axis=1)


def _layout(superpixels: IntArray, look: _Look) -> IntArray:
    """Merges superpixels into the layout's regions: (h, w) labels from 0 up."""
    height, width = superpixels.shape
    rows, columns = np.mgrid[:height, :width] * (100 / max(height, width))
    lab = look.lab * (LIGHTNESS, CHROMA, CHROMA)
    planes = np.dstack([lab, TEXTURE * np.sqrt(look.texture), PLACE_X * columns, PLACE_Y * rows])
    regions = _Regions(superpixels, _means(superpixels, planes), look.gradient)
    return regions.merged()[superpixels]


class _Regions:
    """Regions during merging: each merger appends one region to the lists.

    area: share of the photo in 1/10,000. features: mean. neighbours: for each neighbour, the length of the common
    border in pixels and the sum of the gradient along it. outline: length of all borders with neighbours.
    """

    def __init__(self, superpixels: IntArray, features: FloatArray, gradient: FloatArray) -> None:
        sizes = np.bincount(superpixels.ravel())
        self.area = (sizes * (10_000 / superpixels.size)).tolist()
        self.features = list(features)
        self.neighbours: list[dict[int, tuple[float, float]]] = [{} for _ in sizes]
        for first, second, length, edge in zip(*_borders(superpixels, gradient), strict=True):
            self.neighbours[first][second] = self.neighbours[second][first] = (length, edge)
        self.outline = [sum(length for length, _ in around.values()) for around in self.neighbours]

    def merged(self) -> IntArray:
        """Merges the cheapest pairs until they cost too much. Returns the region of each superpixel, from 0 up."""
        superpixels = left = len(self.area)
        parent = list(range(superpixels))
        queue = [(self._cost(a, b), a, b) for a, around in enumerate(self.neighbours) for b in around if b > a]
        heapq.heapify(queue)
        while left > LEAST_REGIONS and queue:
            cost, a, b = heapq.heappop(queue)
            if parent[a] != a or parent[b] != b:
                continue
            if cost > MERGER_TOO_DEAR and left <= MOST_REGIONS:
                break
            merged = self._merge(a, b)
            parent[a] = parent[b] = merged
            parent.append(merged)
            left -= 1
            for other in self.neighbours[merged]:
                heapq.heappush(queue, (self._cost(other, merged), other, merged))
        for region in reversed(range(len(parent))):  # a parent comes after its children
            parent[region] = parent[parent[region]]
        return np.unique(parent[:superpixels], return_inverse=True)[1]

    def _cost(self, a: int, b: int) -> float:
        length, edge = self.neighbours[a][b]
        apart = self.features[a] - self.features[b]
        distance = float(apart @ apart) + EDGE * (edge / length) ** 2
        ward = self.area[a] * self.area[b] / (self.area[a] + self.area[b])
        return distance * ward * min(self.outline[a], self.outline[b]) / length

    def _merge(self, a: int, b: int) -> int:
        merged, area = len(self.area), self.area[a] + self.area[b]
        self.outline.append(self.outline[a] + self.outline[b] - 2 * self.neighbours[a][b][0])
        self.features.append((self.area[a] * self.features[a] + self.area[b] * self.features[b]) / area)
        self.area.append(area)
        around: dict[int, tuple[float, float]] = {}
        for old in (a, b):
            for other, (length, edge) in self.neighbours[old].items():
                self.neighbours[other].pop(old)
                if other not in (a, b):
                    so_far = around.get(other, (0.0, 0.0))
                    around[other] = (so_far[0] + length, so_far[1] + edge)
            self.neighbours[old] = {}
        for other, border in around.items():
            self.neighbours[other][merged] = border
        self.neighbours.append(around)
        return merged


def _borders(labels: IntArray, gradient: FloatArray) -> tuple[list[int], list[int], list[int], list[float]]:
    """Pairs of touching labels (4-connected): the lower, the higher, border length, gradient summed along it."""
    number, pairs, edges = int(labels.max()) + 1, [], []
    for one, other in (((slice(None), slice(-1)), (slice(None), slice(1, None))), ((slice(-1),), (slice(1, None),))):
        differs = labels[one] != labels[other]
        a, b = labels[one][differs], labels[other][differs]
        pairs.append(np.minimum(a, b) * number + np.maximum(a, b))
        edges.append(np.maximum(gradient[one], gradient[other])[differs])
    unique, inverse, lengths = np.unique(np.concatenate(pairs), return_inverse=True, return_counts=True)
    sums = np.bincount(inverse, np.concatenate(edges))
    return (unique // number).tolist(), (unique % number).tolist(), lengths.tolist(), sums.tolist()


def _focus_bands(rgb: NDArray[np.uint8], shape: tuple[int, ...]) -> FloatArray:
    """Local energy of fine and of coarse detail in squared grey levels: (h, w, 2) float32 of the working shape."""
    grey = cv2.cvtColor(_at_most(rgb, FOCUS_SIDE), cv2.COLOR_RGB2GRAY).astype(np.float32)
    levels = [cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (0.7, 1.4, 4.0)]
    bands = np.dstack([(levels[0] - levels[1]) ** 2, (levels[1] - levels[2]) ** 2])
    return cv2.GaussianBlur(cv2.resize(bands, shape[::-1], interpolation=cv2.INTER_AREA), (0, 0), 3)


def _figures(rgb: NDArray[np.uint8], superpixels: IntArray, look: _Look, focus_bands: FloatArray) -> list[BoolArray]:
    """The photo's subject, (h, w) bool, as one region or several separate ones, the largest first; or none."""
    seeds = _seeds(superpixels, look)
    if np.count_nonzero(seeds & 1) < 64 or np.count_nonzero(~seeds & 1) < 64:
        return []
    cv2.setRNGSeed(0)  # GrabCut's colour models begin with a random k-means
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(rgb, seeds, (0, 0, 1, 1), *models, GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_MASK)
    figure = cv2.morphologyEx(seeds & 1, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    if not _stands_out(figure.view(np.bool_), look, focus_bands):
        return []
    number, labels, stats, _ = cv2.connectedComponentsWithStats(figure, connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA].tolist()
    largest = sorted(range(1, number), key=lambda label: -areas[label])[:MOST_FIGURES]
    return [np.equal(labels, label) for label in largest if areas[label] >= LEAST_FIGURE * figure.size]


def _seeds(superpixels: IntArray, look: _Look) -> NDArray[np.uint8]:
    """GrabCut's initial labels, (h, w), from each superpixel's difference to the margins, focus and position."""
    height, width = superpixels.shape
    rows, columns = np.mgrid[:height, :width]
    central = np.exp(-(((columns / width - 0.5) / 0.28) ** 2 + ((rows / height - 0.55) / 0.35) ** 2) / 2)
    focus = np.log(cv2.GaussianBlur(np.ascontiguousarray(look.texture[..., 2]), (0, 0), 4) + 0.3)
    cues = _means(superpixels, np.dstack([_unlike_margins(look.lab), focus, central]))
    cues[:, 0] = np.log(cues[:, 0] + 1e-3)
    sizes = np.bincount(superpixels.ravel())
    cues -= np.average(cues, axis=0, weights=sizes)
    cues /= np.sqrt(np.average(cues**2, axis=0, weights=sizes)) + 1e-6
    score = (cues @ (1.0, 1.5, 1.0))[superpixels]
    low, middle, high = np.quantile(score, (0.25, 0.6, 0.96))
    kinds = np.array([cv2.GC_BGD, cv2.GC_PR_BGD, cv2.GC_PR_FGD, cv2.GC_FGD], np.uint8)
    return kinds[(score > low).astype(int) + (score > middle) + (score > high)]


def _unlike_margins(lab: FloatArray) -> FloatArray:
    """How far each pixel's colour is from those of the photo's four margins, (h, w), 1 on average.

    A margin is modelled as a Gaussian of its colours, with Mahalanobis distance; the farthest margin does not count,
    since the subject itself often touches one.
    """
    smooth = cv2.GaussianBlur(lab, (0, 0), 2)
    band = max(2, round(0.06 * max(lab.shape[:2])))
    distances = []
    for margin in (smooth[:band], smooth[-band:], smooth[:, :band], smooth[:, -band:]):
        colours = margin.reshape(-1, 3)
        inverse = np.linalg.inv(np.cov(colours.T) + 20 * np.eye(3))
        apart = smooth - colours.mean(axis=0)
        distances.append(np.sqrt(np.maximum(np.sum((apart @ inverse) * apart, axis=-1), 0)))
    nearest = np.sort(np.stack(distances), axis=0)[:3].mean(axis=0)
    return nearest / (nearest.mean() + 1e-6)


def _stands_out(figure: BoolArray, look: _Look, focus_bands: FloatArray) -> bool:
    if not figure.any() or figure.all():
        return False
    ground = ~figure
    # The constants, in squared grey levels, keep sensor noise in flat places from counting as detail.
    fine, coarse = np.moveaxis(focus_bands, -1, 0) + np.array([0.025, 0.5], np.float32)[:, None, None]
    ratios = [np.log(fine[place].mean() / coarse[place].mean()) for place in (figure, ground)]
    if ratios[0] - ratios[1] >= FIGURE_FOCUS:
        return True
    detail = np.log(look.texture[..., 2] + 0.3)
    if detail[figure].mean() - detail[ground].mean() < FIGURE_DETAIL:
        return False
    mask = figure.view(np.uint8)
    outline = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    outline[[0, -1]] = outline[:, [0, -1]] = False  # the photo's edge is not an outline
    edge = float(look.gradient[outline].sum()) / (np.count_nonzero(outline) * float(look.gradient.mean()) + 1e-6)
    colours = look.lab * np.array([LIGHTNESS, CHROMA, CHROMA], np.float32)
    around = (cv2.dilate(mask, np.ones((25, 25), np.uint8)) > 0) & ground
    apart = float(np.linalg.norm(colours[figure].mean(axis=0) - colours[around].mean(axis=0)))
    return edge * apart / (1 + float(np.sqrt(colours[figure].var(axis=0).sum()))) >= FIGURE_CONTRAST


def _enlarge(region: BoolArray, height: int, width: int) -> BoolArray:
    """The region at the photo's size, with a smooth outline: (height, width) bool."""
    if region.shape == (height, width):
        return region
    soft = cv2.GaussianBlur(region.astype(np.uint8) * 255, (0, 0), 0.8)
    return cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR) >= 128
