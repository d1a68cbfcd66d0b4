# Ends every pod that the runtime still knows, without asking the pod network: its plugin may need an API server that is gone, and then
# the runtime would keep pods, their network namespaces and what CNI remembers of them for ever. Interfaces go with the namespaces. Safe to
# repeat.
#
# Argument: the runtime's socket.
set -u
conf=/etc/cni/net.d/00-00-ksp-leaving.conflist
ask() { crictl --runtime-endpoint "$1" --timeout 30s "$2" $3; }
# What CNI remembers of pods; others on this machine may use it, too.
forget() { grep -ls K8S_POD_ /var/lib/cni/results/* 2>/dev/null | tr '\n' '\0' | xargs -0r rm -f --; }

# Of a run that was cut off: it would be the network of a node that comes back.
rm -f "$conf"
command -v crictl >/dev/null || exit 0
# A runtime that does not answer runs no pods that could be ended.
pods=$(ask "$1" pods -q) || exit 0
[ -n "$pods" ] || { forget; exit 0; }

systemctl stop kubelet
forget
# The first one by its name is the network of new pods, and of those that end. This one has nothing to take back.
mkdir -p /etc/cni/net.d
echo '{ "cniVersion": "1.0.0", "name": "ksp-leaving", "plugins": [{ "type": "loopback" }] }' >"$conf"
# The runtime reads it when it hears of it.
for try in 1 2 3 4 5 6; do
  ask "$1" rmp '--all --force' >/dev/null 2>&1
  pods=$(ask "$1" pods -q) || pods=unknown
  [ -n "$pods" ] || break
  sleep 1
done
rm -f "$conf"
forget
[ -z "$pods" ] || { echo "the runtime keeps these pods:" >&2; ask "$1" pods '' >&2; exit 1; }
