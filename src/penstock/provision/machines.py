"""The machines there are to choose from: cores, memory, what their disk and net carry.

Owns the catalogue of EC2 types and RDS classes. Sizes and baselines are AWS's own, from
the pages of instance types in the EC2 user guide ("EBS-optimized instances", "Network
specifications", "Burstable performance instances"), as moto 5.2 holds them too. What
they cost is prices.json's.
"""

from dataclasses import dataclass
from typing import Final

ARM64: Final = "arm64"
X86_64: Final = "x86_64"


@dataclass(frozen=True, slots=True)
class Machine:
    """An EC2 type or RDS class, by what it carries for hours, not for minutes.

    `sustained_cores` is less than `vcpus` where credits are spent above it.
    """

    name: str
    architecture: str
    vcpus: int
    memory_mib: int
    sustained_cores: float
    disk_mbps: int
    network_mbps: int

    @property
    def family(self) -> str:
        """The part of the name that prices go by: t4g, m7g, db.m7g."""
        return self.name.rpartition(".")[0]

    @property
    def is_burstable(self) -> bool:
        """Whether it earns credits and spends them."""
        return self.sustained_cores < self.vcpus


def _burstable(family: str, architecture: str) -> tuple[Machine, ...]:
    # Baseline: 20 % of each vCPU for small and medium, 30 % for large.
    return (
        Machine(f"{family}.small", architecture, 2, 2_048, 0.4, 174, 128),
        Machine(f"{family}.medium", architecture, 2, 4_096, 0.4, 347, 256),
        Machine(f"{family}.large", architecture, 2, 8_192, 0.6, 695, 512),
    )


def _general(
    family: str, architecture: str, disk_mbps: int, network_mbps: int
) -> tuple[Machine, ...]:
    sizes = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32}
    sizes["16xlarge"] = 64
    return tuple(
        Machine(
            f"{family}.{size}",
            architecture,
            vcpus,
            vcpus * 4_096,
            vcpus,
            # The smallest has a little more than its share.
            disk_mbps if vcpus == 2 else vcpus * 1_250 // 4,
            network_mbps * vcpus // 2,
        )
        for size, vcpus in sizes.items()
    )


# The smallest first: the first that carries a load is the one.
MACHINES: Final = (
    *_burstable("t4g", ARM64),
    *_general("m7g", ARM64, 630, 937),
    *_burstable("t3", X86_64),
    *_general("m7i", X86_64, 650, 781),
)
# RDS is Graviton in any case: nothing of ours runs on it.
RDS_CLASSES: Final = (
    *_burstable("db.t4g", ARM64)[1:],
    *_general("db.m7g", ARM64, 630, 937),
)
