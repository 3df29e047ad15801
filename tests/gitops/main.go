// Package main asks Argo CD's and Flux's own code what they make of an object: its health, the actions that are offered,
// what an action does, and whether it differs from what is declared.
//
// One JSON request on standard input, one JSON answer on standard output; tests/integration/test_gitops.py is the caller.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/health"
	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type object = map[string]any

type request struct {
	// The data of the ConfigMap argocd-cm.
	ConfigMap map[string]string `json:"configMap"`
	Judge     []object          `json:"judge"`
	Act       []struct {
		Object object `json:"object"`
		Action string `json:"action"`
	} `json:"act"`
	Compare []struct {
		Desired object `json:"desired"`
		Live    object `json:"live"`
	} `json:"compare"`
}

type verdict struct {
	Argo    *health.HealthStatus      `json:"argo"`
	Actions []v1alpha1.ResourceAction `json:"actions"`
	Kstatus *kstatus.Result           `json:"kstatus"`
}

type difference struct {
	Modified  bool            `json:"modified"`
	Predicted json.RawMessage `json:"predicted"`
	Live      json.RawMessage `json:"live"`
}

type answer struct {
	Judged   []verdict    `json:"judged"`
	Acted    []object     `json:"acted"`
	Compared []difference `json:"compared"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var asked request
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	customizations := customizationsOf(asked.ConfigMap)
	var told answer
	for _, obj := range asked.Judge {
		judged, err := judge(customizations, unstructuredOf(obj))
		if err != nil {
			return err
		}
		told.Judged = append(told.Judged, judged)
	}
	for _, wish := range asked.Act {
		acted, err := act(customizations, unstructuredOf(wish.Object), wish.Action)
		if err != nil {
			return fmt.Errorf("action %s: %w", wish.Action, err)
		}
		told.Acted = append(told.Acted, acted)
	}
	for _, pair := range asked.Compare {
		result, err := diff.Diff(unstructuredOf(pair.Desired), unstructuredOf(pair.Live))
		if err != nil {
			return err
		}
		told.Compared = append(told.Compared, difference{result.Modified, result.PredictedLive, result.NormalizedLive})
	}
	return json.NewEncoder(os.Stdout).Encode(told)
}

// customizationsOf reads resource.customizations.<what>.<group>_<kind>, as Argo CD's settings do.
func customizationsOf(configMap map[string]string) lua.ResourceHealthOverrides {
	found := lua.ResourceHealthOverrides{}
	for key, text := range configMap {
		what, kind, ok := strings.Cut(strings.TrimPrefix(key, "resource.customizations."), ".")
		if !ok || !strings.HasPrefix(key, "resource.customizations.") {
			continue
		}
		kind = strings.Replace(kind, "_", "/", 1)
		override := found[kind]
		switch what {
		case "health":
			override.HealthLua = text
		case "actions":
			override.Actions = text
		}
		found[kind] = override
	}
	return found
}

func judge(customizations lua.ResourceHealthOverrides, obj *unstructured.Unstructured) (verdict, error) {
	argo, err := health.GetResourceHealth(obj, customizations)
	if err != nil {
		return verdict{}, err
	}
	vm := lua.VM{ResourceOverrides: customizations}
	scripts, err := vm.GetResourceActionDiscovery(obj)
	if err != nil {
		return verdict{}, err
	}
	actions, err := vm.ExecuteResourceActionDiscovery(obj, scripts)
	if err != nil {
		return verdict{}, err
	}
	sort.Slice(actions, func(i, j int) bool { return actions[i].Name < actions[j].Name })
	flux, err := kstatus.Compute(obj)
	if err != nil {
		return verdict{}, err
	}
	return verdict{argo, actions, flux}, nil
}

func act(customizations lua.ResourceHealthOverrides, obj *unstructured.Unstructured, name string) (object, error) {
	vm := lua.VM{ResourceOverrides: customizations}
	action, err := vm.GetResourceAction(obj, name)
	if err != nil {
		return nil, err
	}
	impacted, err := vm.ExecuteResourceAction(obj, action.ActionLua, nil)
	if err != nil {
		return nil, err
	}
	return impacted[0].UnstructuredObj.Object, nil
}

// unstructuredOf has numbers as Kubernetes' own decoder makes them: int64 where they are whole.
func unstructuredOf(obj object) *unstructured.Unstructured {
	encoded, err := json.Marshal(obj)
	if err != nil {
		panic(err)
	}
	decoded := &unstructured.Unstructured{}
	if err := decoded.UnmarshalJSON(encoded); err != nil {
		panic(err)
	}
	return decoded
}
