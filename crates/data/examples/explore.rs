use dualmd_data::*;
fn main() {
    for (name,size) in [("fashion",16),("fashion",28),("emoji",32),("emoji",16)] {
        let mut set = load(name, &LoadOptions{image_size:Some(size),..Default::default()}).unwrap();
        let r = dedupe(&mut set);
        println!("{name} {size}: {} records, dups {} {}", set.len(), r.same_content, r.same_resized);
        for bits in [4,6,8,12,16,64] { for rmse in [0.03,0.04,0.05,0.06,0.08,0.1] {
            let t=std::time::Instant::now();
            let g = near_duplicates(&set,&NearDuplicateOptions{max_bits:bits,max_rmse:rmse});
            let mut sizes=vec![0;g.len()]; g.of.iter().for_each(|&x| sizes[x]+=1);
            let inside: usize = sizes.iter().filter(|s|**s>1).sum();
            println!("  bits {bits:2} rmse {rmse:.2}: pairs {:5} groups {:4} pictures {:4} largest {} ({:?})", g.near_pairs.len(), g.shared(), inside, sizes.iter().max().unwrap(), t.elapsed());
        }}
    }
    for (name,size,bits,lo,hi) in [("emoji",32,64u32,0.0,0.05),("emoji",32,64,0.05,0.08),("fashion",28,64,0.0,0.06)] {
        let mut set = load(name, &LoadOptions{image_size:Some(size),channels:Some(3),..Default::default()}).unwrap();
        dedupe(&mut set);
        let tight = near_duplicates(&set,&NearDuplicateOptions{max_bits:bits,max_rmse:lo}).near_pairs;
        let wide = near_duplicates(&set,&NearDuplicateOptions{max_bits:bits,max_rmse:hi}).near_pairs;
        let pairs: Vec<_> = wide.iter().filter(|p| !tight.contains(p)).collect();
        let step=(pairs.len()/100).max(1);
        let mut pics=vec![]; for p in pairs.iter().step_by(step).take(100) { for i in [p.0,p.1] { let q=&set.records[i].picture; pics.push(q.resize(q.width*2,q.height*2,Filter::Bilinear).unwrap()); } }
        save_png(std::path::Path::new(&format!("/tmp/near-{name}-{hi}.png")), &grid(&pics, 20, 4)).unwrap();
    }
}
