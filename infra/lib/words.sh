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
    # Not "active account": gcloud names it in whatever Google has refused.
    *UNAUTHENTICATED* | *'invalid authentication'* | *'auth login'* | *Reauthentication* \
      | *'refreshing your current auth tokens'*)
      echo 'Your login to Google Cloud is missing or has expired. Log in: gcloud auth login' ;;
    *'unrecognized arguments'* | *'Invalid choice'*)
      echo 'This gcloud is too old. Bring it up to date: gcloud components update' ;;
    # Each region has a host of its own: where there is no such region there is no such host.
    *"resolve '$region-run."* | *"the server at $region-run."*) no_region ;;
    *'nable to find the server'* | *NameResolution* | *'unreachable'* | *ProxyError* \
      | *'onnection refused'* | *'Max retries exceeded'* | *'establish a new connection'*)
      echo 'Google Cloud cannot be reached. Check the network, and run this again.' ;;
    *'illing account for project'* | *'illing must be enabled'*)
      echo "Project $project has no billing account. Link one:" \
        "gcloud billing projects link $project --billing-account=ACCOUNT" ;;
    *'permitted customer'*)
      echo 'Your organisation lets nobody from outside call a service. Ask its administrators to' \
        "except project $project from iam.allowedPolicyMemberDomains." ;;
    *constraints/*)
      echo "Your organisation forbids this ($(grep -o 'constraints/[A-Za-z.]*' "$1" | head -n 1))." \
        "Ask its administrators to except project $project from it." ;;
    *'quota restrictions'* | *'no concurrent builds quota'*)
      echo "Google does not build in $region for project $project, as for many new ones. Use another" \
        'region, such as us-central1 or europe-west1, or ask Google for it.' ;;
    *'Max instances must be set'* | *'maxScale may not exceed'* | *AllocPerProjectRegion*)
      echo "Google gives project $project fewer CPUs or less memory in $region than this asks for." \
        "Say --max-instances with less than $max_instances, or ask for more:" \
        'https://cloud.google.com/run/quotas' ;;
    *SERVICE_DISABLED* | *'has not been used in project'*)
      echo 'An API is off that is asked first. Turn it on: gcloud services enable' \
        "$(grep -o '[a-z]*\.googleapis\.com' "$1" | grep -v '^type' | head -n 1)" \
        "--project=$project" ;;
    *Image*' not found'*)
      echo 'The image that was to be deployed is not in the registry. Run this again to build it.' ;;
    *'ocation '*' is not found'* | *'nvalid locationId'* | *'ocation '*' not found'*) no_region ;;
    *'may not exist'* | *PERMISSION_DENIED* | *'does not have permission'* | *denied*)
      permission=$(sed -n "s/.*[Pp]ermission '\([^']*\)' denied.*/\1/p" "$1" | head -n 1)
      echo "Your account may not do this in project $project${permission:+ ($permission)}, or there" \
        'is no such project. Use one that you own, or ask an owner of it for roles/owner.' ;;
    *)
      # Of two errors the second one is Google's own; why a build has failed is in its log only.
      { grep 'ERROR: (gcloud' "$1" || grep 'ERROR' "$1" || cat "$1"; } | tail -n 1
      sed -n 's/.*[Ll]ogs are available at \[ *\([^] ]*\) *\].*/Its log: \1/p' "$1" | tail -n 1 ;;
  esac | paste -s -d ' ' -
}

no_region() {
  echo "There is no region $region, or not for all that is needed. List them: gcloud run regions" \
    'list; and where a database can be (--database-location): gcloud firestore locations list'
}
