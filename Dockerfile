# The platform as an image: docker build -t mainspring .
#
# It runs as a user without a name, writes to /data and /tmp only, and takes a read-only root.
# An app of your own goes on top: FROM mainspring, COPY app.py /app/, CMD ["up", "/app/app.py"].
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
ENV UV_PROJECT_ENVIRONMENT=/opt/mainspring UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv==0.13.8
# Dependencies first: they change less often than the code.
COPY pyproject.toml uv.lock ./
RUN /opt/uv/bin/uv sync --frozen --no-cache --no-dev --no-install-project --all-extras --no-extra demo
COPY README.md LICENSE ./
COPY src src
RUN /opt/uv/bin/uv sync --frozen --no-cache --no-dev --no-editable --all-extras --no-extra demo

FROM ${PYTHON_IMAGE}
RUN install -d -o 10001 -g 10001 -m 0700 /data /certificates
COPY --from=build /opt/mainspring /opt/mainspring
ENV PATH=/opt/mainspring/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 MAINSPRING_PLATFORM__DATA_DIR=/data MAINSPRING_SERVER__HOST=0.0.0.0
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --start-period=30s --interval=10s --timeout=5s CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["mainspring"]
CMD ["up"]
