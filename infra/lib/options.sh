# The command line. Sourced.

project='' region='' offline=no yes=no operators='' callers=''
min_instances=0 max_instances=10 cpu=2 memory=4Gi
sweep='' database_location='' settings='' runner_settings='' given_image='' delete_data=no

options() {
  while [ $# -gt 0 ]; do
    case $1 in
      --dry-run) offline=yes ;;
      --yes) yes=yes ;;
      --delete-data) delete_data=yes ;;
      --project | --region | --operators | --callers | --min-instances | --max-instances | --cpu \
        | --memory | --image | --sweep | --database-location | --settings | --runner-settings)
        [ $# -ge 2 ] || wrong "$1 needs a value."
        local name=${1#--}
        [ "$name" != image ] || name=given_image
        printf -v "${name//-/_}" %s "$2"
        shift
        ;;
      -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"; exit ;;
      *) wrong "there is no option $1." ;;
    esac
    shift
  done
  check_options
}

wrong() {
  printf 'claude-run: %s claude-run %s --help lists the options.\n' "$1" "$(basename "$0" .sh)" >&2
  exit 2
}

check_options() {
  if [ -z "$project" ] && [ "$offline" = no ]; then
    need_gcloud
    project=$(gcloud config get-value project 2>/dev/null || true)
  fi
  [ -n "$project" ] || wrong 'which project? Name one with --project.'
  [ -n "$region" ] || wrong 'which region? Name one with --region, such as europe-west1.'
  matches "$project" '[a-z][a-z0-9.:-]*' || wrong '--project must be the ID of a project.'
  matches "$region" '[a-z]*-[a-z]*[0-9][0-9]*' || wrong '--region must be one such as europe-west1.'
  matches "$min_instances" '[0-9][0-9]*' || wrong '--min-instances must be a number.'
  matches "$max_instances" '[1-9][0-9]*' || wrong '--max-instances must be a number, and not 0.'
  [ "$min_instances" -le "$max_instances" ] \
    || wrong '--min-instances must not be more than --max-instances.'
  matches "$cpu" '[1-9][0-9]*' || wrong '--cpu must be a number.'
  matches "$memory" '[1-9][0-9]*[MG]i' || wrong '--memory must be one such as 4Gi.'
  if [ -z "$operators" ] && [ "$offline" = no ]; then
    operators=$(gcloud config get-value account 2>/dev/null || true)
  fi
  database_location=${database_location:-$region}
  sweep=${sweep:-$(rows schedule.txt | sed 's/^[^ ]* *//')}
  check_settings "$settings"
  check_settings "$runner_settings"
}

# matches TEXT REGEX: the whole of it.
matches() { printf '%s\n' "$1" | grep -qx -- "$2"; }

# check_settings FILE: what whoever may see a service can read is no place for a secret.
check_settings() {
  [ -n "$1" ] || return 0
  [ -r "$1" ] || wrong "the file $1 cannot be read."
  # By the names of all of ours, and of what others call so: an exporter's headers hold its token.
  if grep -qE '^[A-Z0-9_]*(_KEY|_TOKEN|_SECRET|_PASSWORD|_HEADERS)=' "$1"; then
    wrong "$1 has a secret in it. Put it into Secret Manager: see secrets.txt."
  fi
  if grep -vqE '^([A-Z][A-Z0-9_]*=[^|]*|#.*|)$' "$1"; then
    wrong "$1 must have lines NAME=VALUE, without a | in them."
  fi
}

need_gcloud() { need gcloud 'See https://cloud.google.com/sdk/docs/install.'; }

# need COMMAND ADVICE
need() { command -v "$1" >/dev/null || stop "$1 is not installed, and this needs it. $2"; }

# confirm WHAT: go on, or leave.
confirm() {
  local answer=''
  [ "$yes" = no ] || return 0
  [ -t 0 ] || stop 'Nobody is here to be asked. Say --yes to make these changes.'
  printf '%s Make them? [y/N] ' "$1" >&2
  read -r answer
  case $answer in
    y | Y | yes) ;;
    *) stop 'Nothing was changed.' ;;
  esac
}
