# The project in a container, which trains as a user without rights:
#   docker build -t my_project .
#   docker run --rm -v "$PWD/lightning_logs:/home/user/project/lightning_logs" my_project fit --config configs/digits_mlp.yaml
# With a GPU: docker run --gpus all --ipc host …. Without one, PyTorch without CUDA is much smaller: pytorch.org's "Get
# started" names its index for the CPU, for --build-arg TORCH_INDEX=ADDRESS.
# On another base that has Python 3.11 or later, whose PyTorch is kept if it is new enough:
#   docker build --build-arg BASE=pytorch/pytorch:TAG -t my_project .
ARG BASE=python:3.12-slim

# What the project needs, which changes rarely. The devcontainer is this stage, with the working folder in it.
FROM ${BASE} AS environment
ENV PIP_NO_CACHE_DIR=1 PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
# The user's number is that of the files' owner outside, or mounted folders can't be written to: --build-arg UID=$(id -u)
ARG UID=1000
RUN useradd --create-home --non-unique --uid "$UID" --shell /bin/bash user
WORKDIR /opt/requirements
# Where the engine is a wheel, it lies in wheels/ and is named to pip; in a clone there is no such folder.
COPY pyproject.toml wheels* ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt
# A further index for PyTorch; PyPI's has CUDA on Linux.
ARG TORCH_INDEX=
RUN python -m pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r requirements.txt $(find . -name "*.whl")
USER user
ENV PATH=/home/user/.local/bin:$PATH
RUN mkdir /home/user/project
WORKDIR /home/user/project

# The project itself, which changes often.
FROM environment AS project
COPY --chown=user . .
RUN python -m pip install --user --no-deps -e .
ENTRYPOINT ["kindling"]
CMD ["--help"]
