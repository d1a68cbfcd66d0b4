#!/bin/sh
# Cilium's Helm release, on a control plane.
#
#   ksp-cilium check VERSION DIGEST   succeeds when the release of this chart and these values is in force, and the cluster has it so
#   ksp-cilium apply VERSION DIGEST   installs or upgrades it; whatever an earlier run left half done is gone over again
#   ksp-cilium remove                 uninstalls it, waits until its pods have ended, and removes the kinds that it brought
#
# The digest is that of the values; the release carries it as its description.
set -u
verb=$1 version=${2-} digest=${3-}
namespace=kube-system
export KUBECONFIG=/etc/kubernetes/admin.conf

helm() { /usr/local/lib/ksp/helm "$@" --namespace "$namespace"; }

# Status, version of the chart, time, description.
release() {
  helm get all cilium \
    --template '{{ .Release.Info.Status }} {{ .Release.Chart.Metadata.Version }} {{ .Release.Info.LastDeployed.Unix }} {{ .Release.Info.Description }}'
}

check() {
  set -- $(release)
  [ "${1-}" = deployed ] && [ "${2-}" = "$version" ] && [ "${4-} ${5-}" = "ksp $digest" ] || return 1
  manifest=$(helm get manifest cilium) && [ -n "$manifest" ] || return 1
  # Dry runs on the server: what is missing or was changed differs, what somebody added besides does not.
  printf '%s\n' "$manifest" | kubectl diff --filename - >/dev/null
}

# Somebody else's Helm may be at work, perhaps that of a run which was cut off. It waits for no pod, so it is over soon; what is
# still pending after that nobody finishes. Helm would refuse to go on for ever: its record of the attempt goes, and what the
# attempt made is taken up by the next one.
settle() {
  while :; do
    set -- $(release 2>/dev/null)
    case ${1-} in pending-* | uninstalling) ;; *) return 0 ;; esac
    [ $(($(date +%s) - ${3:-0})) -lt 60 ] || break
    sleep 2
  done
  echo "an earlier run left the release ${1}: its record is removed" >&2
  kubectl delete secrets --namespace "$namespace" --selector "owner=helm,name=cilium,status=$1"
}

case $verb in
check) check ;;
apply)
  settle >&2 || exit 1
  helm upgrade cilium /usr/local/lib/ksp/cilium.tgz --install --values /etc/ksp/cilium.json --description "ksp $digest" \
    --history-max 5 --timeout 5m >/dev/null
  ;;
remove)
  settle >&2 || exit 1
  helm uninstall cilium --ignore-not-found --wait --cascade foreground --timeout 5m >/dev/null || exit 1
  # Its operator made these. What they hold says how pods were connected, and would mislead another Cilium.
  kinds=$(kubectl get customresourcedefinitions --output name | grep '\.cilium\.io$')
  [ -z "$kinds" ] || kubectl delete --timeout 2m $kinds >/dev/null
  ;;
*) exit 2 ;;
esac
