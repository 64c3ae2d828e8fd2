#!/usr/bin/env bash
# Take away what `claude-run deploy` has made:
#
#   claude-run destroy --project PROJECT --region REGION [OPTION…]
#
#   --dry-run       only print the commands, of a whole deployment
#   --yes           do not ask
#   --delete-data   the database and the secrets, too: sessions, the App's key, your key
#
# What it has not made stays, and so do the APIs: nobody knows who else uses them by now.
set -euo pipefail

infra=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$infra")
# shellcheck source-path=SCRIPTDIR
for part in words commands options names look project removal; do
  . "$infra/lib/$part.sh"
done

# What calls first, what is called next, and last what they were allowed to.
steps() {
  remove_schedule
  remove_services
  revoke
  remove_accounts
  remove_images
  if [ "$delete_data" = yes ]; then remove_data; fi
}

options "$@"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
look_around
look_closer
look_at_sources
mode=show
if [ "$offline" = yes ]; then
  steps
  say "These are the $changes commands of a whole deployment. None was run."
  exit
fi
steps >"$work/plan"
if [ "$changes" -eq 0 ]; then
  say "There is nothing of claude-run in $project ($region)."
  exit
fi
cat "$work/plan"
confirm "These $changes changes in $project ($region)."
mode=do
steps
say "claude-run is gone from $project ($region)."
if [ "$delete_data" = no ]; then
  say 'The database and the secrets are kept: another deployment finds them. With --delete-data' \
    'they go, too.'
fi
