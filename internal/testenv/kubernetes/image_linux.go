package kubernetes

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// Build gives the node an image of one program of this module, named by its directory.
func (c *Cluster) Build(image, program string) error {
	return c.load(program, map[string][]string{image: {"/program"}})
}

// load gives the node images that have the same program with other arguments.
func (c *Cluster) load(program string, images map[string][]string) error {
	archive, err := buildImages(c.Dir, program, images)
	if err != nil {
		return err
	}
	if out, err := c.Command("ctr", "-a", filepath.Join(c.Dir, "ctr.sock"), "-n", "k8s.io", "images", "import", archive).CombinedOutput(); err != nil {
		return fmt.Errorf("import the image: %w\n%s", err, out)
	}
	return os.Remove(archive)
}

// buildImages makes an archive of images, each with the entry point that it is given.
func buildImages(dir, program string, images map[string][]string) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	binary := filepath.Join(dir, filepath.Base(program))
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", binary, ".")
	build.Dir = filepath.Join(filepath.Dir(file), "../../..", program)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", program, err, out)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	layer, err := archive(entry{"program", content, 0o755})
	if err != nil {
		return "", err
	}
	entries := []entry{{"layer.tar", layer, 0o644}}
	var manifest []map[string]any
	for name, arguments := range images {
		config, err := json.Marshal(map[string]any{
			"architecture": runtime.GOARCH, "os": "linux",
			"config": map[string]any{"Entrypoint": arguments},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sumOf(layer)}},
		})
		if err != nil {
			return "", err
		}
		called := sumOf(config) + ".json"
		entries = append(entries, entry{called, config, 0o644})
		manifest = append(manifest, map[string]any{"Config": called, "RepoTags": []string{name}, "Layers": []string{"layer.tar"}})
	}
	list, err := json.Marshal(manifest)
	if err != nil {
		return "", err
	}
	all, err := archive(append(entries, entry{"manifest.json", list, 0o644})...)
	if err != nil {
		return "", err
	}
	path := binary + ".tar"
	return path, os.WriteFile(path, all, 0o600)
}

type entry struct {
	name    string
	content []byte
	mode    int64
}

func archive(entries ...entry) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
