package main_test

import (
	"archive/zip"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/juggler-go/juggler"

// publish lays out dir, a module, at a version as a proxy for Go modules does.
func publish(t *testing.T, proxy, dir, path, version string) {
	t.Helper()
	at := filepath.Join(proxy, filepath.FromSlash(path), "@v")
	if err := os.MkdirAll(at, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(at, "list"), version+"\n")
	writeFile(t, filepath.Join(at, version+".mod"), readFile(t, filepath.Join(dir, "go.mod")))
	writeFile(t, filepath.Join(at, version+".info"), `{"Version":"`+version+`"}`)
	file, err := os.Create(filepath.Join(at, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(name, "go.mod")) // a module in the module
			if err == nil || d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "dist" {
				return fs.SkipDir
			}
			return nil
		}
		within, err := filepath.Rel(dir, name)
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		w, err := archive.Create(path + "@" + version + "/" + filepath.ToSlash(within))
		if err != nil {
			return err
		}
		_, err = w.Write([]byte(readFile(t, name)))
		return err
	})
	if err == nil {
		err = archive.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// goCommand runs the go command in dir and returns what it prints.
func goCommand(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, output)
	}
	return strings.TrimSpace(string(output))
}

// Once the modules are tagged with the version that the command requires of the
// library, go install gets the command from anywhere, without a workspace.
func TestInstallsFromRelease(t *testing.T) {
	var mod struct {
		Require []struct{ Path, Version string }
		Replace []any
	}
	if err := json.Unmarshal([]byte(goCommand(t, ".", nil, "mod", "edit", "-json")), &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Replace) > 0 {
		t.Error("go install pkg@version refuses a module with a replace")
	}
	library := slices.IndexFunc(mod.Require, func(r struct{ Path, Version string }) bool { return r.Path == modulePath })
	if library < 0 {
		t.Fatal("go.mod does not require the library")
	}
	version := mod.Require[library].Version

	proxy, dir := t.TempDir(), t.TempDir()
	publish(t, proxy, "../..", modulePath, version)
	for _, module := range []string{"/cmd/juggler", "/telemetry/otel", "/telemetry/prometheus"} {
		publish(t, proxy, "../.."+module, modulePath+module, version)
	}
	known := filepath.Join(goCommand(t, dir, nil, "env", "GOMODCACHE"), "cache", "download")
	goCommand(t, dir, []string{
		"CGO_ENABLED=0", "GOFLAGS=-trimpath -modcacherw", // compiled for the container, too, and cached
		"GOBIN=" + dir,
		"GOMODCACHE=" + filepath.Join(dir, "cache"), // these releases must not stay
		"GOPROXY=file://" + proxy + ",file://" + known + "," + goCommand(t, dir, nil, "env", "GOPROXY"),
		"GOSUMDB=off",
	}, "install", modulePath+"/cmd/juggler@"+version)

	output, err := exec.CommandContext(t.Context(), filepath.Join(dir, "juggler"), "version").Output()
	if err != nil || !strings.HasPrefix(string(output), "juggler "+version+",") {
		t.Errorf("version: %s, %v", output, err)
	}
}
