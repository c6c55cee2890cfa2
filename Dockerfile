# CPU:   docker build -t translation .
# CUDA:  docker build -t translation --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu126 .
#
#     docker run --rm -v "$PWD/checkpoints:/project/checkpoints" -v "$PWD/results:/project/results" \
#         -v /my/images:/data:ro translation train.py --dataroot /data --name mine --model sc --learned_attn --augment
#
# With GPUs add --gpus all. Workers hand over batches in /dev/shm, of which Docker gives 64 MB: add --shm-size 2g or
# --ipc host, or type --num_threads 0. The page of app.py:
#
#     docker run --rm -p 127.0.0.1:7860:7860 -v "$PWD/checkpoints:/project/checkpoints" translation app.py --host 0.0.0.0
#
# The wheels of PyTorch hold what they need of CUDA; the host needs NVIDIA's driver and container toolkit.
FROM python:3.12-slim
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG EXTRAS=app,features,evaluation,export
WORKDIR /project

# Packages first: they change less often than sources.
COPY pyproject.toml requirements.txt ./
COPY spatial_correlative spatial_correlative
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX_URL" $(grep -E '^torch(vision)?[<=>]' requirements.txt) \
    && pip install --no-cache-dir -r requirements.txt ".[$EXTRAS]"

COPY . .
RUN useradd --create-home user && mkdir -p checkpoints results && chown user checkpoints results
USER user
ENTRYPOINT ["python"]
CMD ["train.py", "--help"]
