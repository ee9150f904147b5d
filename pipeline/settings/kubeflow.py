"""The `kubeflow:` section of the config: how the pipeline's steps run on a cluster."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from tfx_recommender.foundation.settings import Settings
from tfx_recommender.pipeline.settings.beam import require_startable_runners

# Quantities as Kubernetes writes them: 500m or 2 (CPUs), 512Mi or 4Gi (memory).
Cpu = Annotated[str, Field(pattern=r"^([0-9]+m|[0-9]+(\.[0-9]+)?)$")]
Memory = Annotated[str, Field(pattern=r"^[0-9]+(Mi|Gi)$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]

# Volumes that KFP, Argo and our compiler give a step's pod.
_VOLUMES = {"ca-bundle", "kfp-launcher", "kfp-workspace", "scratch", "tmp-dir-argo", "var-run-argo"}


def _require_free(name: str) -> str:
    if name in _VOLUMES or name.endswith("-scratch"):
        raise ValueError(
            f"{name!r} is the name of a volume that every step's pod has already (KFP names a"
            " claim's volume after the claim); give the claim another name"
        )
    return name


# KFP's driver names the volume after the claim, and a volume's name is a DNS label.
ClaimName = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"), AfterValidator(_require_free)
]


class Claim(Settings):
    """A PersistentVolumeClaim and where it is mounted."""

    name: ClaimName
    """Name of the claim in the run's namespace: small letters, digits and hyphens, at most 63."""
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
    """CPUs it may use; TensorFlow gets a thread for each."""
    memory_request: Memory = "2Gi"
    """Memory that is set aside."""
    memory_limit: Memory = "4Gi"
    """Memory beyond which it is killed."""
    timeout_minutes: Annotated[int, Field(ge=1)] = 120
    """Minutes after which its pod is stopped; each retry has as many again."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Repetitions after a failure, for steps where repeating is harmless; after one minute, two,
    four, …"""
    node_selector: dict[str, str] = {}
    """Labels of the nodes it may run on."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints it may run beside."""
    secrets: tuple[SecretKey, ...] = ()
    """Secrets it is given."""

    @property
    def threads(self) -> int:
        """Threads for `cpu_limit`: a part of a CPU counts as one."""
        thousandths = self.cpu_limit.endswith("m")
        return math.ceil(float(self.cpu_limit.rstrip("m")) / (1000 if thousandths else 1)) or 1


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
    """Beam's pipeline options for StatisticsGen, Transform and Evaluators on the cluster
    (PortableRunner, DataflowRunner), in place of all that the section `beam` says; none: as it
    says."""
    default: Step = Step()
    """How a step runs unless `nodes` says otherwise."""
    nodes: dict[str, Step] = {}
    """Node (`World`, `Transform`, `Trainer-mf`, ...) -> what differs from `default`."""

    @field_validator("beam_arguments")
    @classmethod
    def _require_a_runner_that_can_start(cls, arguments: tuple[str, ...]) -> tuple[str, ...]:
        require_startable_runners(arguments)
        return arguments

    @model_validator(mode="after")
    def _require_two_claims(self) -> Self:
        serving = self.serving_read_claim or self.serving_claim
        if self.data_claim and serving and self.data_claim.name == serving.name:
            raise ValueError(
                f"World mounts the claim {serving.name!r} for the data and for the serving folder:"
                " KFP would give its pod two volumes of that name; make a claim for each"
            )
        return self

    def step(self, node: str) -> Step:
        """How this node's step runs."""
        own = self.nodes.get(node, Step())
        return self.default.model_copy(
            update={field: getattr(own, field) for field in own.model_fields_set}
        )
