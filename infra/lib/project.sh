# APIs, accounts and roles. Sourced.

turn_on_apis() {
  local missing
  missing=$(names_in apis.txt | while read -r api; do
    has apis "$api" || echo "$api"
  done)
  [ -z "$missing" ] || change 'the APIs' \
    gcloud services enable $missing --project="$project"
}

make_accounts() {
  local name
  for name in $(names_in accounts.txt); do
    is_there accounts "$(account "$name")" || change "the account of $name" \
      gcloud iam service-accounts create "claude-run-$name" --project="$project" \
      --display-name="claude-run $name" --description="$made_by"
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

# grant_one MEMBER ROLE ON WHY: unless that is so.
grant_one() { is_granted "$1" "$2" "$3" || binding add "$@"; }
# revoke_one MEMBER ROLE ON WHY: where it is so.
revoke_one() { ! is_granted "$1" "$2" "$3" || binding remove "$@"; }

is_granted() {
  case $3 in
    database) has grants.project "$2 $1 $database" ;;
    */*) has "grants.${3%%/*}.${3#*/}" "$2 $1 " ;;
    *) has "grants.$3" "$2 $1 " ;;
  esac
}

# binding add|remove MEMBER ROLE ON WHY
binding() {
  local command=$1-iam-policy-binding on=$4 why=$5 name=${4#*/}
  set -- --member="$2" --role="$3" --project="$project" --format=none
  case $on in
    database)
      change "$why" gcloud projects "$command" "$project" "${@:1:2}" --format=none --condition="$(
        echo "expression=resource.name==\"projects/$project/databases/$database\",title=$database"
      )"
      ;;
    project) change "$why" gcloud projects "$command" "$project" "${@:1:2}" --format=none \
      --condition=None ;;
    secret/*) change "$why" gcloud secrets "$command" "$name" "$@" ;;
    service/*) change "$why" gcloud run services "$command" "$name" --region="$region" "$@" ;;
    job/*) change "$why" gcloud run jobs "$command" "$name" --region="$region" "$@" ;;
    repository) change "$why" gcloud artifacts repositories "$command" "$repository" \
      --location="$region" "$@" ;;
    bucket) change "$why" gcloud storage buckets "$command" "gs://$(bucket)" "$@" ;;
    *) stop "grants.txt: what is $on?" ;;
  esac
}
