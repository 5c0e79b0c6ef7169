"""Write the JSON Schema that the manifests of cluster/kuberay are checked against, from KubeRay's published CRDs.

    python scripts/kuberay_schema.py KUBERAY/helm-chart/kuberay-operator/crds REVISION

Descriptions are dropped, fields of a pod that no manifest here uses are left open, and a field that a CRD does not know is an error.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).resolve().parent.parent / "tests" / "contracts" / "schemas" / "kuberay.json"
OPEN = {
    "affinity", "initContainers", "ephemeralContainers", "topologySpreadConstraints", "lifecycle", "livenessProbe", "readinessProbe",
    "startupProbe", "securityContext", "csi", "projected", "ephemeral", "azureDisk", "azureFile", "cephfs", "cinder", "configMap",
    "downwardAPI", "fc", "flexVolume", "glusterfs", "iscsi", "rbd", "scaleIO", "storageos", "vsphereVolume", "photonPersistentDisk",
    "portworxVolume", "quobyte", "flocker", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "secret", "headService",
    "serveService", "status", "submitterPodTemplate",
}  # fmt: skip


def main(folder: Path, revision: str) -> None:
    """Write one schema with a definition per kind."""
    definitions = {}
    for kind in ("RayCluster", "RayJob", "RayService"):
        crd = yaml.safe_load((folder / f"ray.io_{kind.lower()}s.yaml").read_text(encoding="utf-8"))
        (version,) = [each for each in crd["spec"]["versions"] if each["name"] == "v1"]
        definitions[kind] = pruned(version["schema"]["openAPIV3Schema"])
    cluster = definitions["RayCluster"]["properties"]["spec"]
    definitions["clusterSpec"] = cluster
    definitions["RayCluster"]["properties"]["spec"] = {"$ref": "#/definitions/clusterSpec"}
    for kind, field in (("RayJob", "rayClusterSpec"), ("RayService", "rayClusterConfig")):
        properties = definitions[kind]["properties"]["spec"]["properties"]
        assert properties[field] == cluster, f"{kind}.{field} is no RayCluster spec"
        properties[field] = {"$ref": "#/definitions/clusterSpec"}
    notice = (
        f"Derived by scripts/kuberay_schema.py from the CRDs of ray-project/kuberay at {revision}. Copyright the KubeRay authors; "
        "licensed under the Apache License, Version 2.0, http://www.apache.org/licenses/LICENSE-2.0. Changed: pruned, made strict."
    )
    TARGET.write_text(
        json.dumps({"$comment": notice, "definitions": definitions}, separators=(",", ":")) + "\n", encoding="utf-8"
    )
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes")


def pruned(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without prose, strict about names."""
    kept = {key: value for key, value in schema.items() if key != "description" and not key.startswith("x-kubernetes")}
    if "properties" in kept:
        kept["properties"] = {name: {} if name in OPEN else pruned(value) for name, value in kept["properties"].items()}
        kept["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = pruned(kept[key])
    return kept


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2])
