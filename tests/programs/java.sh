# Runs a program under every collector of the virtual machine.
javac Churn.java
for collector in Serial Parallel G1 Shenandoah Z; do
	if java -XX:+Use${collector}GC -version >/dev/null 2>&1; then
		echo $collector
		java -Xmx96m -XX:+Use${collector}GC Churn
	fi
done
