# Removes what CNI remembers of pods that are gone: those whose network namespace is. A pod that started under the first network alone
# and ended under Multus is remembered by the first network's plugin for ever: the runtime tells only the network that it has now.
set -u
for result in /var/lib/cni/results/*; do
  [ -f "$result" ] || continue
  namespace=$(sed -n 's/.*"netns":"\([^"]*\)".*/\1/p' "$result")
  [ -z "$namespace" ] || [ -e "$namespace" ] || rm -f -- "$result"
done
