perf record -q -F 999 -g -o $D/n -p $NP -- sleep 4 2>&1 | tail -2
perf report -i $D/n --no-children --sort symbol --stdio -g caller,0.5,callee --max-stack 6 2>/dev/null | grep -v '^#' > /tmp/tmp.ucfzXC6oC8/node.txt
perf report -i $D/n --children --sort symbol --stdio -g none 2>/dev/null | grep -v '^#' | grep -v '^$' | grep -v "\[k\]" | head -120 | cut -c1-110
