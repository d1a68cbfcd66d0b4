# Writes a little and waits until it is on the disk, again and again, as a member does with its log. Fails when more than one in ten
# writes takes too long. Arguments: the folder; milliseconds.
set -u
folder=$1 limit=$2 file=$1/.ksp-disk
trap 'rm -f "$file"' EXIT
n=0 slow=0
while [ "$n" -lt 30 ]; do
  before=$(date +%s%N)
  said=$(dd if=/dev/zero of="$file" bs=2048 count=1 seek="$n" conv=notrunc oflag=dsync 2>&1) || { echo "$folder cannot be written: $said" >&2; exit 1; }
  [ $((($(date +%s%N) - before) / 1000000)) -lt "$limit" ] || slow=$((slow + 1))
  n=$((n + 1))
done
[ "$slow" -le 3 ] || { echo "$slow of 30 small writes to $folder took $limit ms or longer: members would elect leaders for ever" >&2; exit 1; }
