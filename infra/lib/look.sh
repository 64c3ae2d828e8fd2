# What is there already: one file for each kind of thing. Sourced.

look_around() {
  number=PROJECT_NUMBER
  [ "$offline" = yes ] || look_at_project
  look apis gcloud services list --enabled --project="$project" --format='value(config.name)'
  seen
  if_on iam accounts iam service-accounts list \
    --format='csv[no-heading,separator="|"](email,description)'
  look grants.project gcloud projects get-iam-policy "$project" \
    --flatten='bindings[].members' --format="csv[no-heading,separator=' ']$(policy_columns)"
  if_on secretmanager secrets secrets list \
    --format='csv[no-heading,separator=" "](name.basename(),labels.managed-by)'
  if_on artifactregistry repositories artifacts repositories list --location="$region" \
    --format='csv[no-heading,separator=" "](name.basename(),labels.managed-by,format,cleanupPolicies.len())'
  if_on storage buckets storage buckets list --filter="name=$(bucket)" \
    --format='csv[no-heading,separator=" "](name,lifecycle_config.rule[0].condition.matchesPrefix[0])'
  if_on firestore databases firestore databases list \
    --format='csv[no-heading,separator=" "](name.basename(),type,locationId)'
  if_on cloudscheduler schedules scheduler jobs list --location="$region" \
    --format='csv[no-heading,separator="|"](name.basename(),schedule,httpTarget.uri,httpTarget.oidcToken.serviceAccountEmail,httpTarget.oidcToken.audience,description,state)'
  if_on run services run services list --region="$region" \
    --format='csv[no-heading,separator="|"](metadata.name,metadata.labels.managed-by,metadata.labels.deployed,status.latestCreatedRevisionName,status.latestReadyRevisionName,spec.traffic[0].latestRevision,status.url)'
  if_on run jobs run jobs list --region="$region" \
    --format='csv[no-heading,separator="|"](metadata.name,metadata.labels.managed-by,metadata.labels.deployed)'
  seen
}

look_at_project() {
  need_gcloud
  need curl 'It asks new revisions how they are: install it with the packages of your system.'
  look number gcloud projects describe "$project" --format='value(projectNumber)'
  look billing gcloud billing projects describe "$project" --format='value(billingEnabled)'
  seen
  number=$(cat "$work/number")
  has billing True || stop "Project $project has no billing account. Link one:" \
    "gcloud billing projects link $project --billing-account=ACCOUNT"
}

# if_on API NAME COMMAND…: look, where the API is on; there is nothing where it is not.
if_on() {
  local api=$1 name=$2
  shift 2
  : >"$work/$name"
  if has apis "$api.googleapis.com"; then
    look "$name" gcloud "$@" --project="$project"
  fi
}

# Members of a role, and the condition under which they have it.
policy_columns() { echo '(bindings.role,bindings.members,bindings.condition.title)'; }

# What is on each of the things that there are.
look_closer() {
  local name
  for name in $services; do
    : >"$work/grants.service.$name"
    if is_there services "$name"; then
      policy "service.$name" run services get-iam-policy "$name" --region="$region"
    fi
  done
  : >"$work/grants.job.$worker"
  if is_there jobs "$worker"; then
    policy "job.$worker" run jobs get-iam-policy "$worker" --region="$region"
  fi
  for name in $(names_in secrets.txt); do
    : >"$work/grants.secret.$name"
    if is_there secrets "$name"; then
      policy "secret.$name" secrets get-iam-policy "$name"
    fi
  done
  : >"$work/versions"
  if is_there secrets setup-code; then
    look versions gcloud secrets versions list setup-code --project="$project" \
      --filter=state=ENABLED --limit=1 --format='value(name)'
  fi
  : >"$work/grants.repository"
  if is_there repositories "$repository"; then
    policy repository artifacts repositories get-iam-policy "$repository" --location="$region"
  fi
  : >"$work/grants.bucket"
  if is_there buckets "$(bucket)"; then
    policy bucket storage buckets get-iam-policy "gs://$(bucket)"
  fi
  : >"$work/indexes.raw" >"$work/unindexed" >"$work/ttls"
  if is_there databases "$database"; then
    look indexes.raw gcloud firestore indexes composite list --project="$project" \
      --database="$database" --flatten=fields \
      --format='csv[no-heading,separator=" "](name.segment(5),name.basename(),fields.fieldPath,fields.order)'
    look unindexed gcloud firestore indexes fields list --project="$project" \
      --database="$database" --format='csv[no-heading,separator=" "](name.segment(5),name.basename())'
    look ttls gcloud firestore fields ttls list --project="$project" \
      --database="$database" --format='csv[no-heading,separator=" "](name.segment(5),name.basename())'
  fi
  seen
  # One line for each index: its fields after its collection, without the one that Google adds.
  awk '$3 != "__name__" { key = $1 " " $2; line[key] = line[key] " " $3 ":" tolower($4) }
    END { for (key in line) { split(key, part, " "); print part[1] line[key] } }' \
    "$work/indexes.raw" >"$work/indexes"
}

# policy NAME COMMAND…: who may do what with something.
policy() {
  local name=$1
  shift
  look "grants.$name" gcloud "$@" --project="$project" --flatten='bindings[].members' \
    --format="csv[no-heading,separator=' ']$(policy_columns)"
}

# is_there KIND NAME: whether a look has found it.
is_there() { grep -q -e "^$2[ |]" "$work/$1"; }

# is_ours KIND NAME: whether it is there, and deploy.sh has made it.
is_ours() {
  case $1 in
    accounts) grep -q "^$2|$made_by\$" "$work/$1" ;;
    schedules) grep -q "^$2|.*|$made_by|" "$work/$1" ;;
    # It can carry no label. A deployment's secrets are made before it.
    buckets) has buckets "$2 claude-run-runner/" ;;
    databases) is_there databases "$2" && is_ours secrets setup-code ;;
    *) grep -q "^$2[ |]claude-run\([ |]\|\$\)" "$work/$1" ;;
  esac
}

# is_serving SERVICE: one of its revisions is ready; is_ready: the newest one is; is_settled: and it
# has the traffic.
is_settled() { is_ready "$1" && grep -q "^$1|[^|]*|[^|]*|[^|]*|[^|]*|True|" "$work/services"; }
is_serving() { grep -q "^$1|[^|]*|[^|]*|[^|]*|[^|][^|]*|" "$work/services"; }
is_ready() { grep -q "^$1|[^|]*|[^|]*|\([^|]*\)|\1|" "$work/services"; }

# Something of our name that we have not made may be in use by others, or be something else.
refuse_what_is_not_ours() {
  local name
  for name in $services; do
    refuse services "$name" "Cloud Run service $name" \
      "gcloud run services update $name --region=$region --update-labels=$label"
  done
  refuse jobs "$worker" "Cloud Run job $worker" \
    "gcloud run jobs update $worker --region=$region --update-labels=$label"
  for name in $(names_in secrets.txt); do
    refuse secrets "$name" "secret $name" "gcloud secrets update $name --update-labels=$label"
  done
  refuse repositories "$repository" "repository $repository" \
    "gcloud artifacts repositories update $repository --location=$region --update-labels=$label"
  # What else it may do, and who may act as it, nobody here knows.
  for name in $(names_in accounts.txt); do
    refuse accounts "$(account "$name")" "service account claude-run-$name" \
      "gcloud iam service-accounts update $(account "$name") --description='$made_by'"
  done
  refuse schedules "$schedule" "schedule $schedule" \
    "gcloud scheduler jobs update http $schedule --location=$region --description='$made_by'"
  if is_there repositories "$repository" && ! grep -q ' DOCKER ' "$work/repositories"; then
    stop "The repository $repository does not keep Docker images. Delete it, or use another project."
  fi
  if is_there databases "$database" && ! grep -q "^$database FIRESTORE_NATIVE" "$work/databases"; then
    stop "The database $database is not in Firestore's native mode. Delete it, or use another project."
  fi
  if is_there databases "$database" && ! is_ours databases "$database"; then
    stop "There is a database $database already, and claude-run has not made it." \
      'Delete it, or use another project.'
  fi
}

refuse() {
  if is_there "$1" "$2" && ! is_ours "$1" "$2"; then
    stop "There is a $3 already, and claude-run has not made it. Delete it, use another project," \
      "or give it away: $4 --project=$project"
  fi
}
