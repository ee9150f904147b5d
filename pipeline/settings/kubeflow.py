"""The `kubeflow:` section of the config: how the pipeline's steps run on a cluster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tfx_recommender.foundation.settings import Settings

# Quantities as Kubernetes writes them: 500m or 2 (CPUs), 512Mi or 4Gi (memory).
Cpu = Annotated[str, Field(pattern=r"^([0-9]+m|[0-9]+(\.[0-9]+)?)$")]
Memory = Annotated[str, Field(pattern=r"^[0-9]+(Mi|Gi)$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]


class Claim(Settings):
    """A PersistentVolumeClaim and where it is mounted."""

    name: Name
    """Name of the claim in the run's namespace."""
    mount_path: Annotated[str, Field(pattern=r"^/[^:]+$")]
    """Folder in the container."""


class Toleration(Settings):
    """A taint that steps may run beside (Kubernetes' own words)."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class SecretKey(Settings):
    """One key of a Kubernetes secret as an environment variable of a step."""

    secret: Name
    """Name of the secret."""
    key: str
    """Its key."""
    variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """The environment variable."""


class Step(Settings):
    """How one step runs; what a node does not set it takes from `default`."""

    cpu_request: Cpu = "500m"
    """CPUs that are set aside."""
    cpu_limit: Cpu = "2"
    """CPUs it may use."""
    memory_request: Memory = "2Gi"
    """Memory that is set aside."""
    memory_limit: Memory = "4Gi"
    """Memory beyond which it is killed."""
    timeout_minutes: Annotated[int, Field(ge=1)] = 120
    """Minutes after which its pod is stopped; retries start anew."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Repetitions after a failure, for steps where repeating is harmless."""
    node_selector: dict[str, str] = {}
    """Labels of the nodes it may run on."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints it may run beside."""
    secrets: tuple[SecretKey, ...] = ()
    """Secrets it is given."""


class Kubeflow(Settings):
    """How the steps run on a cluster."""

    image: Annotated[str, Field(pattern=r"^[^@\s]+@sha256:[0-9a-f]{64}$")]
    """The image of all steps, by digest (KFP's cache knows an image by its text alone)."""
    pipeline_root: Annotated[str, Field(pattern=r"^(minio|s3|gs)://.+$")] | None = None
    """Where artifacts go; null: the cluster's default."""
    data_claim: Claim | None = None
    """The volume with the data files; only the steps that read them mount it."""
    serving_claim: Claim | None = None
    """The volume of the serving folder; the push step mounts it."""
    serving_read_claim: Claim | None = None
    """The claim by which the steps that read the serving folder mount it; a claim on the same
    volume that allows no writing. Null: `serving_claim`."""
    image_pull_secret: Name | None = None
    """The secret for the image's registry."""
    beam_arguments: tuple[str, ...] = ()
    """Beam's pipeline options for StatisticsGen, Transform and Evaluators (FlinkRunner,
    DataflowRunner); none: in the step's own process."""
    default: Step = Step()
    """How a step runs unless `nodes` says otherwise."""
    nodes: dict[str, Step] = {}
    """Node (`World`, `Transform`, `Trainer-mf`, ...) -> what differs from `default`."""

    def step(self, node: str) -> Step:
        """How this node's step runs."""
        own = self.nodes.get(node, Step())
        return self.default.model_copy(
            update={field: getattr(own, field) for field in own.model_fields_set}
        )
