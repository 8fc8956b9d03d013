#!/bin/sh
# What the launch files send to every machine, made once on yours: the package as a wheel, the pinned versions, the token.
#
#   sh cluster/prepare.sh             from the root of the checkout, in the environment ast-ray is installed in
set -eu
rm -rf build/cluster
mkdir -p build/cluster
python -m pip wheel --quiet --no-deps --wheel-dir build/cluster .
cp constraints.txt build/cluster/
if [ ! -s ~/.ray/auth_token ]; then
    (umask 077 && ray get-auth-token --generate > /dev/null)
fi
chmod 600 ~/.ray/auth_token
ls build/cluster
