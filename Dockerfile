# h-swarm in a container, as a user without rights. Runs and caches lie in volumes and outlive it:
#
#   docker build -t h-swarm .
#   docker run --rm h-swarm doctor
#   docker run --rm -v "$PWD/search:/work/search" -v h-swarm-cache:/cache --user "$(id -u)" h-swarm demo
#   ... -v "$PWD/my_experts:/work/my_experts:ro" ... h-swarm search -e exact_match -d gsm8k -i my_experts
#
# On NVIDIA devices: build with TORCH=ordinary, whose packages bring CUDA along, and run with --gpus all.
#   docker build -t h-swarm:cuda --build-arg TORCH=ordinary .
# BASE: another image, with Python 3.10 to 3.14 and its venv. EXTRAS: see pyproject.toml, such as report,routing,ray.
ARG BASE=python:3.11-slim
FROM ${BASE}

ARG TORCH=cpu
ARG EXTRAS=report
ENV PATH=/opt/h-swarm/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /src
COPY constraints.txt ./
# --no-deps: that index carries other packages, too, at versions that are not ours
RUN python3 -m venv /opt/h-swarm \
    && if [ "$TORCH" = cpu ]; then pip install --no-deps --index-url https://download.pytorch.org/whl/cpu \
        "$(grep -m 1 '^torch==' constraints.txt)"; fi
COPY pyproject.toml setup.py README.md LICENSE ./
COPY data data
COPY swarm swarm
RUN pip install --constraint constraints.txt ".[$EXTRAS]" && rm -rf /src/*

# whoever --user names may write to both; HOME is for libraries that keep things there
RUN useradd --create-home swarm && mkdir -p /work/search /cache && chmod 1777 /work /work/search /cache
ENV HOME=/cache XDG_CACHE_HOME=/cache HF_HOME=/cache/huggingface MPLCONFIGDIR=/cache/matplotlib
USER swarm
WORKDIR /work
VOLUME ["/work/search", "/cache"]
ENTRYPOINT ["h-swarm"]
CMD ["--help"]
