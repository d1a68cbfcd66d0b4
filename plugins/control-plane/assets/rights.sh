# Removes the kubeconfig with rights that no RBAC rule can take away (T25). Who needed it while there were no rules yet, as a static
# pod that keeps the endpoint, goes on with the administrator's. Can be run again, whatever ended it.
set -eu
cd /etc/kubernetes
mkdir -p tmp
for manifest in manifests/*.yaml; do
  grep -qF /etc/kubernetes/super-admin.conf "$manifest" || continue
  # Renamed into place: the kubelet takes any other file in the folder for another pod (T21).
  cp -p "$manifest" tmp/rights.yaml
  sed 's:/etc/kubernetes/super-admin\.conf:/etc/kubernetes/admin.conf:' "$manifest" >tmp/rights.yaml
  mv -f tmp/rights.yaml "$manifest"
done
rm -f super-admin.conf
