"""gitops/argocd/argocd-cm.yaml, which people paste, from the Lua files, which are tested and sent upstream.

One health check serves all kinds: upstream the folder `_` stands for each of them. A ConfigMap needs a key for each,
since its one key with wildcards, `resource.customizations`, may hold settings for other groups already.
"""

from pathlib import Path

CUSTOMIZATIONS = Path(__file__).parents[1] / "gitops/argocd/resource_customizations"
ALL_KINDS = "_"

HEAD = """\
# Made by tools/argocd_settings.py from resource_customizations: edit those.
# Health checks and actions of VectorOps' kinds. Add the data to your ConfigMap argocd-cm:
#   kubectl patch configmap argocd-cm --namespace argocd --patch-file argocd-cm.yaml
# or, if Helm installs your Argo CD, put it into its value configs.cm.
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
data:
"""


def config_map() -> str:
    """The whole file."""
    return HEAD + "".join(_of(folder) for folder in sorted(CUSTOMIZATIONS.glob("*/[!_]*")))


def _of(folder: Path) -> str:
    kind = f"{folder.parent.name}_{folder.name}"
    actions = folder / "actions"
    definitions = "".join(
        f"- name: {action.parent.name}\n  action.lua: |\n{_indented(action.read_text(), 4)}"
        for action in sorted(actions.glob("*/action.lua"))
    )
    discovery = _indented((actions / "discovery.lua").read_text(), 2)
    health = _indented((folder.parent / ALL_KINDS / "health.lua").read_text(), 4)
    offered = _indented(f"discovery.lua: |\n{discovery}definitions:\n{definitions}", 4)
    return f"  resource.customizations.health.{kind}: |\n{health}  resource.customizations.actions.{kind}: |\n{offered}"


def _indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}" if line.strip() else line for line in text.splitlines(keepends=True))
