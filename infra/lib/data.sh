# The store and the vault. Sourced.

make_store() {
  local kind collection field rest fields
  is_there databases "$database" || change 'the database' \
    gcloud firestore databases create --project="$project" --database="$database" \
    --location="$database_location" --type=firestore-native --format=none
  while read -r kind collection field rest; do
    case $kind in
      index)
        has indexes "$collection $field $rest" && continue
        fields=$(for one in $field $rest; do
          echo "--field-config=field-path=${one%:*},order=${one#*:}"
        done)
        change "an index of $collection" \
          gcloud firestore indexes composite create --project="$project" --database="$database" \
          --collection-group="$collection" $fields --async --format=none
        ;;
      unindexed)
        has unindexed "$collection $field" || change "no index of $collection by $field" \
          gcloud firestore indexes fields update "$field" --project="$project" \
          --database="$database" --collection-group="$collection" --disable-indexes --async \
          --format=none
        ;;
      ttl)
        has ttls "$collection $field" || change "the end of what is in $collection" \
          gcloud firestore fields ttls update "$field" --project="$project" \
          --database="$database" --collection-group="$collection" --enable-ttl --async --format=none
        ;;
      *) stop "firestore.txt: what is $kind?" ;;
    esac
  done < <(rows firestore.txt)
}

make_secrets() {
  local name source why
  while read -r name source why; do
    is_there secrets "$name" || change "the secret $name: $why" \
      gcloud secrets create "$name" --project="$project" --replication-policy=automatic \
      --labels="$label"
    if [ "$source" = deploy ] && ! [ -s "$work/versions" ]; then
      piped "a value for $name" random_code \
        gcloud secrets versions add "$name" --project="$project" --data-file=- --format=none
    fi
  done < <(rows secrets.txt)
}

# 128 bits.
random_code() {
  od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}
