# The runner, the functions, the worker and the schedule. Sourced.
#
# An upgrade makes all new revisions first, without traffic; when all of them are well the worker
# gets their image, and they the traffic. Until then the old ones serve, and where one is not well
# they stay.

# Of what a service was deployed from last, by its label.
deployed() { grep "^$1|" "$work/services" | cut -d '|' -f 3; }

# service NAME DIGEST COMMAND…: deploy it, unless that is what is there.
service() {
  local name=$1 digest=$2
  shift 2
  if [ "$(deployed "$name")" = "$digest" ] && is_ready "$name"; then
    is_settled "$name" || new_revisions="$new_revisions $name"
    return
  fi
  set -- gcloud run deploy "$name" "$@" --project="$project" --region="$region" \
    --labels="$label,deployed=$digest" --quiet --format=none
  # Where none was ever ready there is nothing to be kept serving, and gcloud refuses --no-traffic.
  if is_serving "$name"; then
    new_revisions="$new_revisions $name"
    set -- "$@" --no-traffic --tag=next
  fi
  change "the service $name" "$@"
}

# What checks and traffic are for; each way through the steps begins anew.
new_revisions=''

make_runner() {
  local image=${given_image:-$(runner_image)} flags digest
  new_revisions=''
  flags=(
    --image="$image" --service-account="$(account runner)"
    --execution-environment=gen2 --concurrency=1 --timeout=60m
    --cpu="$cpu" --memory="$memory" --min-instances="$min_instances" --max-instances="$max_instances"
    --no-allow-unauthenticated --ingress=all --cpu-throttling
    --set-env-vars="$(variables "$runner_settings" AUTH=iam GOOGLE_CLOUD_PROJECT="$project")"
  )
  # Without the name of an image of ours: it tells the commit, too.
  digest=$(printf '%s\n' "${given_image:-$(runner_digest)}" "${flags[@]:1}" | digest)
  if [ "$(deployed "$runner")" != "$digest" ] || ! is_ready "$runner"; then
    [ -n "$given_image" ] || build_runner_image "$image"
  fi
  service "$runner" "$digest" "${flags[@]}"
}

make_functions() {
  local name
  for name in $functions; do make_function "$name"; done
}

make_function() {
  local name=$1 flags digest
  flags=(
    --source="$root/functions" --function="$name" --base-image="$python" --no-automatic-updates
    --build-service-account="projects/$project/serviceAccounts/$(account build)"
    --image="$(registry)/claude-run-$name" --service-account="$(account "$name")" --ingress=all
    --cpu=1 --set-env-vars="$(function_variables "$name")"
  )
  case $name in
    # A stream holds a thread, and a session goes on without its caller: CPU between requests.
    api) flags+=(--no-allow-unauthenticated --no-cpu-throttling --memory=1Gi --timeout=60m
      --concurrency=80 --max-instances=10) ;;
    webhook) flags+=(--cpu-throttling --memory=512Mi --timeout=60s
      --concurrency=80 --max-instances=10) ;;
    setup) flags+=(--cpu-throttling --memory=512Mi --timeout=60s
      --concurrency=20 --max-instances=2) ;;
  esac
  digest=$(printf '%s\n' "$(tree_digest functions)" "${flags[@]:1}" | digest)
  service "claude-run-$name" "$digest" "${flags[@]}"
}

# What whoever uses the store and the vault needs; the caller adds its own.
common_variables() {
  variables "$settings" GOOGLE_CLOUD_PROJECT="$project" \
    STORE_URL="firestore://$project/$database" VAULT_URL="secretmanager://$project" "$@"
}

function_variables() {
  local job="WORKER_JOB=projects/$project/locations/$region/jobs/$worker"
  case $1 in
    api)
      common_variables AUTH=iam THREADS=100 "$(runner_url)" "$(runner_service)" \
        "$job" OPERATORS="$operators" \
        SCHEDULER_ACCOUNT="$(account scheduler)"
      ;;
    webhook) common_variables "$job" ;;
    setup) common_variables "$job" WEBHOOK_URL="$(url claude-run-webhook)/webhooks/github" ;;
  esac
}

runner_url() { echo "RUNNER_URL=$(url "$runner")"; }
runner_service() { echo "RUNNER_SERVICE=projects/$project/locations/$region/services/$runner"; }

# variables FILE NAME=VALUE…: for gcloud, which is told by what they are separated; the file's hold.
variables() {
  local file=$1
  shift
  printf '^|^'
  {
    printf '%s\n' "$@"
    [ -z "$file" ] || grep -v -e '^#' -e '^$' "$file"
  } | awk -F= '!($1 in line) { name[++count] = $1 } { line[$1] = $0 }
      END { for (i = 1; i <= count; i++) if (line[name[i]] !~ /=$/)
        printf "%s%s", (n++ ? "|" : ""), line[name[i]] }'
}

make_worker() {
  local digest flags image
  flags=(
    # The entry point of every image that Google's buildpacks make: it sets the path of Python up.
    # After `--` it starts no shell in between.
    --command=/cnb/lifecycle/launcher --args=--,python,-m,gateway.worker
    --service-account="$(account worker)" --cpu=1 --memory=1Gi
    # An execution drives one piece of work after another; one that fails leaves its work to the
    # next, so the platform does not start it again.
    --tasks=1 --max-retries=0 --task-timeout=24h
    --set-env-vars="$(common_variables "$(runner_url)")"
  )
  digest=$(printf '%s\n' "$(tree_digest functions)" "${flags[@]}" | digest)
  if grep -q "^$worker|claude-run|$digest\$" "$work/jobs"; then return; fi
  # The image of the function `api`, built a moment ago from the same folder.
  image="\$(gcloud run services describe claude-run-api --project=$project --region=$region"
  image="$image --format='value(spec.template.spec.containers[0].image)')"
  [ "$mode" = show ] || image=$(image_of claude-run-api)
  change 'the job of the worker' \
    gcloud run jobs deploy "$worker" --image="$image" "${flags[@]}" --project="$project" \
    --region="$region" --labels="$label,deployed=$digest" --quiet --format=none
}

make_schedule() {
  local target verb=create
  target="$(url claude-run-api)/internal/sweep"
  if is_there schedules "$schedule"; then verb=update; fi
  grep -qF "$schedule|$sweep|$target|$(account scheduler)|$(url claude-run-api)|$made_by|" \
    "$work/schedules" || change 'the schedule of the sweep' \
    gcloud scheduler jobs "$verb" http "$schedule" --project="$project" --location="$region" \
    --schedule="$sweep" --time-zone=Etc/UTC --uri="$target" --http-method=POST \
    --oidc-service-account-email="$(account scheduler)" \
    --oidc-token-audience="$(url claude-run-api)" --attempt-deadline=180s \
    --description="$made_by" --format=none
}

# --- upgrades --------------------------------------------------------------------------------

check_new_revisions() {
  local name
  for name in $new_revisions; do
    changes=$((changes + 1))
    if [ "$mode" = show ]; then
      printf '# %s\n%s\n' "is the new revision of $name well?" \
        "curl $(url "next---$name")/health"
    else
      say "- is the new revision of $name well?"
      check_revision "$name"
    fi
  done
}

# check_revision SERVICE: at its own address. Where IAM lets nobody in without a token, that the
# revision is ready is all that can be seen from here.
check_revision() {
  local address status
  address=$(gcloud run services describe "$1" --project="$project" --region="$region" \
    --flatten='status.traffic[]' \
    --format='csv[no-heading,separator=" "](status.traffic.tag,status.traffic.url)' \
    | sed -n 's/^next //p')
  [ -n "$address" ] || return 0
  # A new address is not known everywhere at once.
  local try
  for ((try = 1; try <= TRIES / 3; try++)); do
    status=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 60 \
      "$address/health" || true)
    case $status in 200 | 401 | 403) return ;; esac
    sleep "$PAUSE"
  done
  stop "The new revision of $1 answers $status on /health, so nothing was switched: the last good" \
    "ones serve. Its log: gcloud run services logs read $1 --project=$project --region=$region"
}

move_traffic() {
  local name
  for name in $new_revisions; do
    change "the traffic of $name" \
      gcloud run services update-traffic "$name" --project="$project" --region="$region" \
      --to-latest --remove-tags=next --quiet --format=none
  done
}
