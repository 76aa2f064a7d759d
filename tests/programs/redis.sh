# A server with a socket in this directory, a benchmark, and two children that write the data to
# disk.
redis-server --port 0 --unixsocket "$PWD/s" --dir "$PWD" --save '' --appendonly yes --appendfsync no \
	--enable-debug-command yes >log 2>&1 &
server=$!
client() { redis-cli -s s "$@"; }
trap 'client shutdown nosave >>log 2>&1 || kill $server; wait $server' EXIT
until client ping >/dev/null 2>&1; do
	kill -0 $server || { cat log; exit 1; }
	sleep 0.05
done
done_with() { until client info persistence | grep -q "$1:0"; do sleep 0.05; done; }

redis-benchmark -s s -q -n 20000 -c 8 -r 1000 -t set,get,incr,lpush,lrange_100 >benchmark 2>&1 || { cat benchmark; exit 1; }
client debug populate 100000 key 100
client bgsave
done_with rdb_bgsave_in_progress
client bgrewriteaof
done_with aof_rewrite_in_progress
client info persistence | tr -d '\r' | grep status
client dbsize
redis-check-rdb dump.rdb | grep -oE 'RDB looks OK!|[0-9]+ keys read'
