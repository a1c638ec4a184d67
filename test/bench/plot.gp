# test/bench/plot.gp: draws results.svg from results.csv, both in the current directory

set terminal svg size 960,480 font 'sans-serif,12' background rgb 'white' noenhanced
set output 'results.svg'
set datafile separator ','
set title 'Time of one call that cancels a batch, as a multiple of a bare UPDATE'
set xlabel 'jobs in the batch (90 % can be canceled)'
set logscale xy
set format x '%.0f'
set ytics (1, 1.5, 2, 3, 5, 10, 20, 50, 100)
set yrange [0.8:*] noextend
set grid ytics linetype 1 linecolor rgb '#cccccc'
set border 3
set tics nomirror
set key outside right center reverse Left

# ours drawn through, the rivals dashed, from the slowest to the fastest
array curve[9] = ['PL/pgSQL loop', 'CTE with jsonb_agg (not sent)', 'pipelined UPDATE a job', 'CTE with json_agg', \
	'UPDATE ... RETURNING *', 'cancel_jobs', 'cancel_jobs_rows', 'cancel_jobs_http', 'cancel_jobs (not sent)']
array color[9] = ['#999999', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#d55e00', '#8c6d31', '#0072b2', '#009e73']
points(name) = sprintf("< awk -F, '$1 == \"ratio\" && $3 == \"%s\"' results.csv", name)
measured(name) = system(sprintf("grep -cF ',%s,' results.csv || true", name)) > 0

do for [i = 1:9] {
	if (!measured(curve[i])) { curve[i] = '' }
}
plot for [i = 1:9] points(curve[i]) using 2:(curve[i] eq '' ? NaN : $4) with linespoints \
	linewidth 2 pointtype 7 pointsize 0.6 linecolor rgb color[i] dashtype i < 6 ? 2 : 1 title curve[i]
