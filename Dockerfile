# syntax=docker/dockerfile:1
# The app in a container: docs/docker.md. TORCH_INDEX says whose torch is installed: PyTorch's own for the CPU (small), or,
# left empty, the one with CUDA that pip finds by itself, for which the machine needs no more than NVIDIA's driver and
# container toolkit.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/instructrestore
ENV PATH=/opt/instructrestore/bin:$PATH
WORKDIR /source
COPY constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY pyproject.toml setup.py README.md LICENSE NOTICE ./
COPY instructrestore instructrestore
COPY dataengine dataengine
COPY model model
COPY pipelines pipelines
COPY pretrained pretrained
COPY shards shards
RUN --mount=type=cache,target=/root/.cache/pip pip install -c constraints.txt '.[app,small]'

FROM python:${PYTHON}-slim
COPY --from=build /opt/instructrestore /opt/instructrestore
ENV PATH=/opt/instructrestore/bin:$PATH PYTHONUNBUFFERED=1
# The folders are there and the user's before a volume comes over them, which then takes their owner.
RUN useradd --uid 1000 --user-group --create-home app \
    && install -d -o app -g app /data /home/app/.cache
USER 1000:1000
WORKDIR /data
VOLUME ["/data", "/home/app/.cache"]
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/api/v1/health', timeout=5)"]
ENTRYPOINT ["instructrestore"]
CMD ["app", "--host", "0.0.0.0", "--port", "7860", "--no-browser", "--folder", "/data/app"]
