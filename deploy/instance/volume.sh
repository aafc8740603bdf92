# shellcheck shell=bash
# Owns the data volume: finds it by its id, and never makes a file system on anything
# that holds something. It must not repair, convert or empty a volume.

# Terraform attaches the volume when the instance is already running.
volume_wait_seconds=600
# By this a file system is known as Penstock's, on whichever machine it is attached.
volume_label='penstock-data'
# A new EBS volume is zeros. Where there is no signature and no zeros either, somebody
# has written there what blkid does not know.
volume_blank_bytes=$((16 << 20))

# Mounts the volume at $data: as it is where it is ours, made where it is blank.
volume() {
  local device content
  if [[ -z $DATA_VOLUME_ID ]]; then
    install -d -m 0755 "$data"
    return
  fi
  device=$(volume_device) || die "the data volume $DATA_VOLUME_ID is not attached after $volume_wait_seconds s: attach it (terraform apply), then run $program boot"
  content=$(volume_content "$device")
  case $content in
    ours) say "the data volume $DATA_VOLUME_ID has Penstock's file system: kept" ;;
    blank)
      say "the data volume $DATA_VOLUME_ID is blank: making a file system"
      mkfs.ext4 -q -m 1 -L "$volume_label" "$device" ||
        die "no file system could be made on $DATA_VOLUME_ID"
      ;;
    *) die "the data volume $DATA_VOLUME_ID ($device) holds $content, which is not Penstock's: nothing is changed. If it is, say so by \`e2label $device $volume_label\` (ext4); else detach it and attach the right one" ;;
  esac
  volume_mount "$device"
}

# Prints the device of the volume, waiting for it. Nitro shows EBS volumes as NVMe, in
# no certain order: only the id in the serial number, which udev makes this name of, is
# certain.
volume_device() {
  local name=$by_id/nvme-Amazon_Elastic_Block_Store_${DATA_VOLUME_ID//-/} deadline
  deadline=$((SECONDS + volume_wait_seconds))
  until [[ -e $name ]]; do
    ((SECONDS < deadline)) || return 1
    sleep 2
  done
  readlink -f -- "$name"
}

# Prints `blank`, `ours`, or what else is there.
volume_content() {
  local device=$1 rc=0 found key value type="" label="" table=""
  # -p reads the device, not a cache. 2: it knows no signature, or cannot read.
  found=$(blkid -p -o export -- "$device" 2>/dev/null) || rc=$?
  case $rc in
    0) ;;
    2)
      if cmp -s -n "$volume_blank_bytes" -- "$device" /dev/zero; then
        echo blank
      else
        echo "data without a signature, or cannot be read"
      fi
      return
      ;;
    *)
      echo "what cannot be told apart (blkid ended with $rc)"
      return
      ;;
  esac
  while IFS='=' read -r key value; do
    case $key in
      TYPE) type=$value ;;
      LABEL) label=$value ;;
      PTTYPE) table=$value ;;
    esac
  done <<<"$found"
  if [[ $type == ext4 && $label == "$volume_label" && -z $table ]]; then
    echo ours
  elif [[ -n $table ]]; then
    echo "a partition table ($table)"
  else
    echo "${type:-an unknown signature}${label:+ labelled $label}"
  fi
}

# Containers write there, one of them as root: no set-uid program or device of theirs is
# anything outside.
mount_options="noatime,nosuid,nodev"

# By UUID, and without it the machine boots all the same: systemd's units say what needs
# the mount. Grown where the volume is larger than its file system.
volume_mount() {
  local device=$1 uuid table mounted
  uuid=$(blkid -p -o value -s UUID -- "$device")
  table=$(volume_fstab "$uuid" <"$fstab")
  write "$fstab" 0644 <<<"$table"
  systemctl daemon-reload
  install -d -m 0755 "$data"
  if mountpoint -q "$data"; then
    mounted=$(readlink -f -- "$(findmnt -n -o SOURCE --mountpoint "$data")")
    [[ $mounted == "$device" ]] ||
      die "$data is mounted from $mounted, not from $DATA_VOLUME_ID ($device): unmount it"
  else
    mount -t ext4 -o "$mount_options" -- "$device" "$data" ||
      die "$DATA_VOLUME_ID ($device) could not be mounted at $data; \`e2fsck $device\` says what is wrong with it"
  fi
  volume_grow "$device"
}

volume_grow() {
  local device=$1 grown
  grown=$(resize2fs "$device" 2>&1) ||
    warn "the file system on $DATA_VOLUME_ID could not be grown: $(grep -m 1 '^resize2fs: ' <<<"$grown")"
  [[ $grown != *"is now"* ]] || say "the file system on $DATA_VOLUME_ID has grown with it"
}

# A volume that Terraform has enlarged, at once and not at the next boot: whoever does that
# has a full disk. Looked at by its size, so that nothing is asked of it each minute.
grow_with_volume() {
  local device size
  [[ -n $DATA_VOLUME_ID ]] && volume_is_there || return 0
  device=$(volume_device) && size=$(blockdev --getsize64 "$device") || return 0
  [[ $size != "$(cat "$run/volume_size" 2>/dev/null)" ]] || return 0
  volume_grow "$device"
  echo "$size" >"$run/volume_size"
}

# fstab, from stdin, with the one line for $data.
volume_fstab() {
  awk -v at="$data" '$1 ~ /^#/ || $2 != at'
  printf 'UUID=%s %s ext4 %s,nofail,x-systemd.device-timeout=60s 0 2\n' "$1" "$data" "$mount_options"
}

# PostgreSQL on an empty directory of the root disk would look like a lost database.
volume_is_there() {
  [[ -z $DATA_VOLUME_ID ]] || mountpoint -q "$data"
}

# Each for the user of its container: 10001 is Penstock's, 999 postgres's, 65534
# prometheus's, 472 grafana's, 0 Fluent Bit's, and what that has read of the containers'
# logs is for nobody else. What is there keeps its owner.
make_directories() {
  local entry name owner group mode
  volume_is_there || die "$data is not mounted: $program volume"
  for entry in postgres:999:999:0700 penstock:10001:10001:0700 tls:0:10001:0750 \
    prometheus:65534:65534:0700 grafana:472:0:0700 metrics:10001:10001:2770 \
    fluent-bit:0:0:0700; do
    IFS=: read -r name owner group mode <<<"$entry"
    [[ ! -d $data/$name ]] || continue
    install -d -m "$mode" "$data/$name"
    give "$owner:$group" "$data/$name"
  done
}
