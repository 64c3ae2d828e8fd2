# How what deploy.sh has made is taken away. Sourced.

# ours KIND NAME: as `is_ours`; without a look everything is.
ours() { [ "$offline" = yes ] || is_ours "$@"; }

remove_schedule() {
  ! ours schedules "$schedule" || change 'the schedule of the sweep' \
    gcloud scheduler jobs delete "$schedule" --project="$project" --location="$region" --quiet
}

remove_services() {
  local name
  for name in $services; do
    ! ours services "$name" || change "the service $name" gcloud run services delete "$name" \
      --project="$project" --region="$region" --quiet
  done
  ! ours jobs "$worker" || change 'the job of the worker' gcloud run jobs delete "$worker" \
    --project="$project" --region="$region" --quiet
}

# Before the accounts: what a deleted account was granted stays in policies, under another name.
revoke() {
  local account role on why
  while read -r account role on why; do
    case $on in
      # They go with what they are on.
      service/* | job/* | repository) continue ;;
      secret/*) [ "$delete_data" = no ] || continue ;;
    esac
    if [ "$offline" = yes ]; then
      binding remove "serviceAccount:$(account "$account")" "$role" "$on" "what $account may: $why"
    else
      revoke_one "serviceAccount:$(account "$account")" "$role" "$on" "what $account may: $why"
    fi
  done < <(rows grants.txt)
}

remove_accounts() {
  local name
  for name in $(names_in accounts.txt); do
    ! ours accounts "$(account "$name")" || change "the account of $name" \
      gcloud iam service-accounts delete "$(account "$name")" --project="$project" --quiet
  done
}

remove_images() {
  ! ours repositories "$repository" || change 'the repository of images' \
    gcloud artifacts repositories delete "$repository" --project="$project" \
    --location="$region" --quiet
  ours buckets "$(bucket)" || return 0
  local kind
  for kind in claude-run-runner services/claude-run-; do
    ! has_sources "^$kind" || change 'sources of builds' gcloud storage rm \
      "gs://$(bucket)/$kind**" --project="$project"
  done
  # gcloud puts the sources of other services into the same bucket.
  if [ "$offline" = yes ] || ! grep -qv -e '^claude-run-runner/' -e '^services/claude-run-' \
    "$work/sources"; then
    change 'their bucket' gcloud storage buckets delete "gs://$(bucket)" --project="$project" --quiet
  fi
}

has_sources() { [ "$offline" = yes ] || grep -q "$1" "$work/sources"; }

look_at_sources() {
  : >"$work/sources"
  ! is_there buckets "$(bucket)" || look sources gcloud storage objects list \
    "gs://$(bucket)/**" --project="$project" --format='value(name)'
  seen
}

remove_data() {
  local name
  ! ours databases "$database" || change 'the database' gcloud firestore databases delete \
    --database="$database" --project="$project" --quiet
  for name in $(names_in secrets.txt); do
    ! ours secrets "$name" || change "the secret $name" gcloud secrets delete "$name" \
      --project="$project" --quiet
  done
}
