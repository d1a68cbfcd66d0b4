// nerdctl's test helper, replaced inside its own repository and not served as a module: empty.
module github.com/containerd/nerdctl/mod/tigron

go 1.23
