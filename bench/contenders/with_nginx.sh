#!/usr/bin/env bash
# Captures inside an nginx of one process, over its cosockets: with_nginx.sh takings|cosocket URL ORDER_ID CA_FILE
# REQUEST_FILE COUNT CONCURRENCY. LUA_CPATH names the folder of 5.1's module; LuaJIT's is beside it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
modules=${LUA_CPATH%%/5.1/*}/jit
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/nginx.conf" <<END
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
daemon off;
master_process off;
pid nginx.pid;
error_log stderr error;
env WAY; env URL; env ORDER_ID; env REQUEST_FILE; env COUNT; env CONCURRENCY;
events {}
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    lua_package_path '$here/?.lua;;';
    lua_package_cpath '$modules/?.so;;';
    lua_ssl_trusted_certificate $4;
    lua_ssl_protocols TLSv1.2 TLSv1.3;
    lua_ssl_verify_depth 5;
    init_worker_by_lua_block { require("with_nginx")() }
    server { listen unix:$folder/nginx.sock; }
}
END
# A certificate is checked for a name alone.
export WAY=$1 URL=${2/127.0.0.1/localhost} ORDER_ID=$3 REQUEST_FILE=$5 COUNT=$6 CONCURRENCY=$7
# Debian's folder for nginx is not on every user's PATH.
PATH=$PATH:/usr/sbin nginx -p "$folder" -e stderr -c "$folder/nginx.conf"
