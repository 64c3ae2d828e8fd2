#!/usr/bin/env bash
# Put claude-run on Google Cloud, or bring what is there up to date:
#
#   claude-run deploy --project PROJECT --region REGION [OPTION…]
#
#   --dry-run                only print the commands; needs no login, no network and no gcloud
#   --yes                    do not ask
#   --operators A@B,…        who may see deliveries and sessions of issues (default: you)
#   --callers A@B,…          who else may call the API
#   --min-instances N        runners that are always there (default 0)
#   --max-instances N        runners at most (default 10: what a new project's quota allows)
#   --cpu N, --memory SIZE   of a runner (default 2, 4Gi)
#   --sweep 'M H D M W'      when the sweep runs, in UTC (default: schedule.txt's)
#   --database-location L    of Firestore (default: REGION)
#   --image IMAGE            a runner's image that was built before
#   --settings FILE          lines NAME=VALUE for the functions and the worker; secrets are refused
#   --runner-settings FILE   the same for the runner
#
# It looks at what is there, shows the commands that are missing, asks, and runs them. Run again it
# changes nothing; interrupted, it goes on. It needs gcloud, logged in as an owner of the project.
# Without the command line: infra/deploy.sh, with the same options.
set -euo pipefail

infra=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$infra")
# shellcheck source-path=SCRIPTDIR
for part in words commands options names look project data images services told; do
  . "$infra/lib/$part.sh"
done

# All that there is, in the order in which one needs the other.
steps() {
  turn_on_apis
  make_accounts
  make_secrets
  make_store
  make_places_for_builds
  grant_before_builds
  make_runner
  make_functions
  # What is granted on it needs it; one that is there is left as it is until all is well.
  is_there jobs "$worker" || make_worker
  make_schedule
  grant
  check_new_revisions
  ! is_there jobs "$worker" || make_worker
  move_traffic
}

options "$@"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
look_around
refuse_what_is_not_ours
look_closer
mode=show
if [ "$offline" = yes ]; then
  steps
  say "These are the $changes commands of a whole deployment. None was run."
  exit
fi
steps >"$work/plan"
if [ "$changes" -eq 0 ]; then
  say "Everything is as it should be in $project ($region): nothing to change."
else
  cat "$work/plan"
  confirm "These $changes changes in $project ($region)."
  mode=do
  changes=0
  steps
fi
tell
