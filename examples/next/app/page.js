import Link from 'next/link';

// Rendered at build time.
export default function Home() {
  return (
    <main>
      <h1>Home</h1>
      <ul>
        <li><Link href="/own/hello">A page that Next.js itself revalidates</Link></li>
        <li><Link href="/blog/hello">A post: rendered for each request</Link></li>
        <li><Link href="/blog/hello-amid">Another post</Link></li>
        <li><Link href="/stream/hello">A page that streams</Link></li>
        <li><Link href="/legacy/hello">A page of the pages router</Link></li>
        <li><Link href="/guestbook">A page with a server action</Link></li>
        <li><Link href="/picture">A picture</Link></li>
      </ul>
    </main>
  );
}
