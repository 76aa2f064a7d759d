# A new cluster with a socket in this directory: pgbench with several clients, and a table with an
# index.
PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1):$PATH
control() { pg_ctl -D data -w -t 300 "$@" >>log 2>&1 || { cat log server.log; exit 1; }; }

initdb -D data -A trust --no-sync >log 2>&1 || { cat log; exit 1; }
cat >>data/postgresql.conf <<CONF
listen_addresses = ''
unix_socket_directories = '$PWD'
fsync = off
shared_buffers = 32MB
max_connections = 20
CONF
control -l server.log start
trap 'control -m fast stop' EXIT
export PGHOST="$PWD"
createdb bench
pgbench -q -i -s 1 bench >>log 2>&1 || { cat log; exit 1; }
pgbench -n -c 4 -j 2 -t 250 bench 2>&1 | grep -E 'transactions actually|failed'
psql -XAtc 'select count(*), sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts' bench
psql -XAtc 'create table t as select i, md5(i::text) m from generate_series(1, 100000) i' bench
psql -XAtc 'create index on t(m)' bench
psql -XAtc 'vacuum full t' bench
psql -XAtc "select count(*), max(m), sum(i) filter (where m like '0%') from t" bench
