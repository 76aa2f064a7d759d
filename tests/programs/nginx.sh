# A daemon with two workers and a socket in this directory serves a file plain, compressed and by
# ranges, during a reload.
mkdir www
seq 200000 >www/file
cat >conf <<CONF
worker_processes 2;
pid $PWD/pid;
error_log $PWD/errors warn;
events { worker_connections 64; }
http {
	access_log $PWD/requests;
	client_body_temp_path $PWD/body;
	proxy_temp_path $PWD/proxy;
	fastcgi_temp_path $PWD/fastcgi;
	uwsgi_temp_path $PWD/uwsgi;
	scgi_temp_path $PWD/scgi;
	gzip on;
	gzip_types *;
	server { listen unix:$PWD/s; root $PWD/www; }
}
CONF
server() { nginx -e "$PWD/errors" -p "$PWD" -c "$PWD/conf" "$@"; }
get() { curl -sS --max-time 120 --unix-socket s "$@"; }
finish() {
	server -s quit
	while [ -e pid ]; do sleep 0.05; done
}

server || { cat errors; exit 1; }
trap finish EXIT
get http://host/file | cksum
get -H 'Accept-Encoding: gzip' http://host/file | gzip -dc | cksum
server -s reload
for start in 1 2 3 4 5 6 7 8 9 10; do
	get http://host/file -r $start-${start}000 | cksum
done
get -o /dev/null -w '%{http_code}\n' http://host/nothing
