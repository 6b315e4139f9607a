#!/bin/bash
# Starts one worker from an image that is on the machine's disk or in ECR. The machine lives as long as its
# worker: whatever ends this script shuts it down, and the launch template makes that a termination, so that no
# broken start is paid for, not even while no scaler runs.
set -euo pipefail
trap 'shutdown -h now' EXIT

readonly IMAGE='@IMAGE@' QUEUE='@QUEUE@' SECRET='@SECRET@' DEVICE='@DEVICE@'
readonly METADATA=http://169.254.169.254/latest

token=$(curl -sf --retry 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$METADATA/api/token")
item() { curl -sf --retry 5 -H "X-aws-ec2-metadata-token: $token" "$METADATA/meta-data/$1"; }
id=$(item instance-id)
region=$(item placement/region)

# Addresses and passwords: lines of NAME=value, which only this machine's role may read.
umask 077
aws secretsmanager get-secret-value --region "$region" --secret-id "$SECRET" \
    --query SecretString --output text >/run/leveret.env

if ! docker image inspect "$IMAGE" >/dev/null 2>&1; then
    aws ecr get-login-password --region "$region" | docker login --username AWS --password-stdin "${IMAGE%%/*}"
    docker pull --quiet "$IMAGE"
fi

gpus=()
[[ $DEVICE == cuda ]] && gpus=(--gpus all)
# The worker's id is the instance's: by it the scaler knows which machine it may end. It looks for interruption
# notices itself, two network hops from the metadata service.
docker run --name leveret-worker --stop-timeout 130 "${gpus[@]}" \
    --env-file /run/leveret.env \
    --env LEVERET_WORKER_ID="$id" --env LEVERET_WORKER_QUEUE="$QUEUE" --env LEVERET_WORKER_DEVICE="$DEVICE" \
    --env LEVERET_WORKER_PREEMPTION=ec2 \
    --log-driver awslogs --log-opt awslogs-region="$region" --log-opt awslogs-group=leveret-workers \
    --log-opt awslogs-stream="$id" --log-opt awslogs-create-group=true \
    "$IMAGE"
