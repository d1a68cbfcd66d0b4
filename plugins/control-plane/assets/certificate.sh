# Issues the API server's certificate anew: kubeadm keeps one that is there, whatever names it holds. The old one stays until the new
# one is there. Argument: kubeadm's configuration.
set -u
cd /etc/kubernetes/pki || exit 1
for file in apiserver.crt apiserver.key; do
  [ ! -e $file ] || mv -f $file $file.old || exit 1
done
if kubeadm init phase certs apiserver --config="$1"; then
  rm -f apiserver.crt.old apiserver.key.old
else
  for file in apiserver.crt apiserver.key; do
    [ ! -e $file.old ] || mv -f $file.old $file
  done
  exit 1
fi
