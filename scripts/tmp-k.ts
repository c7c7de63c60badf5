import { WeightedSum } from "../src/compose/kernel/weighted-sum.js";
import type { Term } from "../src/compose/kernel/job.js";
const L=131072, n=10; const k=new WeightedSum();
for (const codec of ["f32","bf16","int8"] as const) {
  const bytes={f32:4,bf16:2,int8:1}[codec];
  const terms:Term[]=Array.from({length:n},()=>({codec,width:codec==="int8"?64:1,values:new Uint8Array(L*bytes).fill(1),scales:codec==="int8"?new Uint8Array(L/64*4):null}));
  const job={terms,weights:new Float32Array(16*n).fill(.1),blockLength:8192,out:new Float32Array(L)};
  for(let i=0;i<50;i++)k.run(job);
  let best=1e9; for(let r=0;r<15;r++){const s=performance.now(); for(let i=0;i<20;i++)k.run(job); best=Math.min(best,(performance.now()-s)/20);}
  console.log(codec,(best*1e6/(L*n)).toFixed(3),"ns/value ->", (best*36).toFixed(2),"ms for ten 130m states from L2/L3");
}
