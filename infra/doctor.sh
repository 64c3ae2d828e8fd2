#!/usr/bin/env bash
# Look at a deployment from outside and say what is not as it should be, and what to do:
#
#   infra/doctor.sh --project PROJECT --region REGION
#
# `claude-run doctor` asks it, and then the API itself. It changes nothing. Its exit status is 1
# where something is wrong.
set -euo pipefail

infra=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$infra")
# shellcheck source-path=SCRIPTDIR
for part in words commands options names look project examination; do
  . "$infra/lib/$part.sh"
done

options "$@"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
look_around
look_closer
look_at_secrets
mode=show
examine_services
examine_roles
examine_public
examine_secrets
examine_addresses
[ "$found_wrong" = no ]
