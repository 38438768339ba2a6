package check_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func TestCompose(t *testing.T) {
	for _, files := range [][]string{
		{"../compose.yaml"},
		{"../compose.yaml", "../compose.cluster.yaml"},
	} {
		options, err := cli.NewProjectOptions(files, cli.WithProfiles([]string{"*"}))
		if err != nil {
			t.Fatal(err)
		}
		project, err := options.LoadProject(t.Context())
		if err != nil {
			t.Errorf("%v: %v", files, err)
			continue
		}
		for _, name := range []string{"redis", "server1", "server2", "callee", "balancer", "client", "load"} {
			if _, err := project.GetService(name); err != nil {
				t.Errorf("%v: %v", files, err)
			}
		}
	}
}

// kinds are the objects that the manifests have.
var kinds = map[string]func() any{
	"apps/v1 Deployment":            func() any { return new(appsv1.Deployment) },
	"v1 ConfigMap":                  func() any { return new(corev1.ConfigMap) },
	"v1 Service":                    func() any { return new(corev1.Service) },
	"policy/v1 PodDisruptionBudget": func() any { return new(policyv1.PodDisruptionBudget) },
}

func TestKubernetes(t *testing.T) {
	text, err := os.ReadFile("../kubernetes/juggler.yaml")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; n++ {
		document, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var is struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		if err := yaml.Unmarshal(document, &is); err != nil {
			t.Fatal(err)
		}
		object := kinds[is.APIVersion+" "+is.Kind]
		if object == nil {
			t.Errorf("there is no %s %s in the table of kinds", is.APIVersion, is.Kind)
			continue
		}
		if err := yaml.UnmarshalStrict(document, object()); err != nil {
			t.Errorf("%s %s: %v", is.APIVersion, is.Kind, err)
		}
	}
	if n != 5 {
		t.Errorf("%d objects", n)
	}
}
