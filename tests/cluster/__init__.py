"""The manifests before Kubernetes itself: etcd, the API server and the controllers we rely on."""
