# APIs, accounts and roles. Sourced.

turn_on_apis() {
  local missing
  missing=$(rows apis.txt | cut -d ' ' -f 1 | while read -r api; do
    has apis "$api" || echo "$api"
  done)
  [ -z "$missing" ] || change 'the APIs' \
    gcloud services enable $missing --project="$project"
}

make_accounts() {
  local name
  for name in $(rows accounts.txt | cut -d ' ' -f 1); do
    has accounts "$(account "$name")" || change "the account of $name" \
      gcloud iam service-accounts create "claude-run-$name" --project="$project" \
      --display-name="claude-run $name" --description='Made by claude-run deploy'
  done
}

# What a build needs before it; the rest needs services that a build has made.
grant_before_builds() { grant_to '^build '; }

grant() {
  grant_to -v '^build '
  grant_callers
}

# grant_to GREP…: the roles on those lines of the table.
grant_to() {
  local account role on why
  while read -r account role on why; do
    case $account in
      allUsers) grant_one allUsers "$role" "$on" "everybody: $why" ;;
      *) grant_one "serviceAccount:$(account "$account")" "$role" "$on" "$account: $why" ;;
    esac
  done < <(rows grants.txt | grep "$@")
}

grant_callers() {
  local one
  for one in ${callers//,/ } ${operators//,/ }; do
    grant_one "$(member "$one")" roles/run.invoker service/claude-run-api "$one calls the API"
  done
}

member() {
  case $1 in
    *.gserviceaccount.com) echo "serviceAccount:$1" ;;
    *) echo "user:$1" ;;
  esac
}

grant_one() {
  local member=$1 role=$2 on=$3 why=$4 name=${3#*/} on_database
  local found="$role $member "
  case $on in
    database)
      on_database="resource.name==\"projects/$project/databases/$database\""
      has grants.project "${found}claude-run" || change "$why" \
        gcloud projects add-iam-policy-binding "$project" --member="$member" --role="$role" \
        --condition="expression=$on_database,title=claude-run" --format=none
      ;;
    project)
      has grants.project "$found" || change "$why" \
        gcloud projects add-iam-policy-binding "$project" --member="$member" --role="$role" \
        --condition=None --format=none
      ;;
    secret/*)
      has "grants.secret.$name" "$found" || change "$why" \
        gcloud secrets add-iam-policy-binding "$name" --project="$project" \
        --member="$member" --role="$role" --format=none
      ;;
    service/*)
      has "grants.service.$name" "$found" || change "$why" \
        gcloud run services add-iam-policy-binding "$name" --project="$project" \
        --region="$region" --member="$member" --role="$role" --format=none
      ;;
    job/*)
      has "grants.job.$name" "$found" || change "$why" \
        gcloud run jobs add-iam-policy-binding "$name" --project="$project" \
        --region="$region" --member="$member" --role="$role" --format=none
      ;;
    repository)
      has grants.repository "$found" || change "$why" \
        gcloud artifacts repositories add-iam-policy-binding "$repository" \
        --project="$project" --location="$region" --member="$member" --role="$role" --format=none
      ;;
    bucket)
      has grants.bucket "$found" || change "$why" \
        gcloud storage buckets add-iam-policy-binding "gs://$(bucket)" --project="$project" \
        --member="$member" --role="$role" --format=none
      ;;
    *) stop "grants.txt: what is $on?" ;;
  esac
}
