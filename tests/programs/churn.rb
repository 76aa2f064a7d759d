# A buffer resized by mremap, a heap that is collected and compacted, threads, a fork, a child.
buffer = IO::Buffer.new(1 << 16)
buffer.set_string("hello")
12.times do |i|
  buffer.resize(1 << (17 + i % 8))
  buffer.set_string("x" * 100, 1 << 16)
end
puts buffer.size, buffer.get_string(0, 5)

all = Hash.new { |hash, key| hash[key] = "v#{key}" * 20 }
200_000.times { |i| all[i * 7919 % 50_000]; all.delete(i % 1000) }
GC.start
GC.compact if GC.respond_to?(:compact)
puts all.size, all[4242].size
puts [1, 2, 3].map { |n| Thread.new { (1..200_000).reduce(:+) + n } }.map(&:value)

reader, writer = IO.pipe
child = fork do
  text = +""
  100_000.times { |i| text << i.to_s }
  writer.puts text.size
  writer.close
  exit!(7)
end
writer.close
puts reader.read
Process.wait(child)
puts $?.exitstatus, `echo a child`
