# What is said, and how it ends. Sourced.

say() { printf '%s\n' "$*" >&2; }

# stop SENTENCE…: the last words, and the end.
stop() {
  printf 'claude-run: %s\n' "$*" >&2
  exit 1
}

# quoted WORD…: a command as it can be typed.
quoted() {
  local word line=''
  for word in "$@"; do
    case $word in
      *'$(gcloud '*) word="${word%%=*}=\"${word#*=}\"" ;;
      '' | *[!A-Za-z0-9_./:=@,+%^-]*) word="'${word//\'/\'\\\'\'}'" ;;
    esac
    line="$line${line:+ }$word"
  done
  printf '%s\n' "$line"
}

# explained FILE: one sentence for what gcloud said on its standard error, and what to do.
explained() {
  local text permission
  text=$(cat "$1")
  case $text in
    *'active account'* | *UNAUTHENTICATED* | *'invalid authentication'* | *'auth login'* \
      | *Reauthentication* | *'refreshing your current auth tokens'*)
      echo 'Your login to Google Cloud is missing or has expired. Log in: gcloud auth login' ;;
    *'nable to find the server'* | *NameResolution* | *'unreachable'* | *ProxyError* \
      | *'onnection refused'* | *'Max retries exceeded'* | *'establish a new connection'*)
      echo 'Google Cloud cannot be reached. Check the network, and run this again.' ;;
    *'illing account for project'* | *'illing must be enabled'*)
      echo "Project $project has no billing account. Link one:" \
        "gcloud billing projects link $project --billing-account=ACCOUNT" ;;
    *'permitted customer'*)
      echo 'Your organisation lets nobody from outside call a service. Ask its administrators to' \
        "except project $project from iam.allowedPolicyMemberDomains." ;;
    *Image*' not found'*)
      echo 'The image that was to be deployed is not in the registry. Run this again to build it.' ;;
    *'ocation '*' is not found'* | *'nvalid locationId'* | *'ocation '*' not found'*)
      echo "There is no region $region, or not for all that is needed." \
        'List them: gcloud run regions list' ;;
    *'may not exist'* | *PERMISSION_DENIED* | *'does not have permission'* | *denied*)
      permission=$(sed -n "s/.*[Pp]ermission '\([^']*\)' denied.*/\1/p" "$1" | head -n 1)
      echo "Your account may not do this in project $project${permission:+ ($permission)}, or there" \
        'is no such project. Use one that you own, or ask an owner of it for roles/owner.' ;;
    *) grep -m 1 'ERROR' "$1" || tail -n 1 "$1" ;;
  esac
}
